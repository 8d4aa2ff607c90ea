"""Accounts and their users: made over REST, used in the dashboard."""

import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pyotp
import pytest

from postroad_common.secrets import hash_password, hash_token
from postroad_common.store.accounts import Account
from postroad_common.store.users import User
from postroad_common.tokenbucket import TokenBuckets
from postroad_common.tokens import Keyring
from postroad_ingress_http.access.secondfactor import STEP_SECONDS, SecondFactor
from postroad_ingress_http.dashboard.passwords import PasswordCheck
from postroad_ingress_http.http.errors import ApiError
from postroad_testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW = "a new password of ours"


async def visit(site: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = site.client()
    del client.headers["Authorization"]
    return client


async def log_in(site: Any, email: str, password: str = "") -> httpx.AsyncClient:
    client = await visit(site)
    answer = await send(
        client, "/dashboard/login", "/dashboard/login", email=email, password=password or NEW
    )
    assert answer.status_code == 303, answer.text
    return client


@asynccontextmanager
async def logged_in(site: Any, email: str, password: str = "") -> AsyncIterator[httpx.AsyncClient]:
    client = await log_in(site, email, password)
    yield client
    await client.aclose()


async def send(client: httpx.AsyncClient, page: str, path: str, **data: str) -> httpx.Response:
    text = (await client.get(page)).text
    found = re.search(r'name="csrf" value="(\w+)"', text)
    assert found, text
    return await client.post(path, data={"csrf": found[1], **data})


async def make_user(site: Any, email: str, account: str = "main", **more: Any) -> None:
    assert await site.database.users.create(email, account, hash_password(NEW), **more)


async def test_account_is_made_with_an_owner_who_joins_and_sees_only_that_account(
    api: httpx.AsyncClient, site: Any
):
    body = {"id": "shop", "name": "The Shop", "owner": "Owner@Shop.example"}
    made = await api.post("/v1/accounts", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["verified_senders_only"] is True
    assert (await api.post("/v1/accounts", json=body)).status_code == 409
    invitation = made.json()["invitation"]
    assert invitation["email"] == "owner@shop.example"
    link = invitation["link"]
    client = await visit(site)
    key = re.sub(".*key=", "", link)
    assert "<h1>Join The Shop</h1>" in (await client.get(link)).text
    short = await send(client, link, "/dashboard/join", key=key, password="short")
    assert short.status_code == 400
    assert "<h1>Join The Shop</h1>" in short.text
    joined = await send(client, link, "/dashboard/join", key=key, password=NEW)
    assert joined.headers["location"] == "/dashboard/login"
    again = await client.get(link)
    assert again.status_code == 404  # a link works once
    await api.post("/v1/credentials", json={"name": "of the first account"})
    async with logged_in(site, "owner@shop.example") as owner:
        page = await owner.get("/dashboard/logins")
        assert page.status_code == 200
        assert "of the first account" not in page.text
        assert (await owner.get("/dashboard/accounts")).status_code == 403
    async with site.client(**{"X-Postroad-Account": "shop"}) as operator:
        assert (await operator.get("/v1/account")).json()["id"] == "shop"
        assert (await operator.get("/v1/credentials")).json()["items"] == []
        login = await operator.post("/v1/credentials", json={"name": "of the shop"})
    assert (await site.database.credentials.find(login.json()["username"])).account == "shop"


@pytest.mark.parametrize("account", ["", "system", "Shop", "a/b", "x" * 41, "-a", "a\n"])
async def test_account_needs_a_plain_id(api: httpx.AsyncClient, account: str):
    answer = await api.post("/v1/accounts", json={"id": account})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "id"


async def test_only_the_operator_acts_in_another_account(site: Any, api: httpx.AsyncClient):
    await api.post("/v1/accounts", json={"id": "other"})
    secret = "pr_everything_of_one_account"
    await site.database.tokens.create(
        account="main", name="all", scopes=("*",), secret_hash=hash_token(secret)
    )
    headers = {"Authorization": f"Bearer {secret}", "X-Postroad-Account": "other"}
    async with site.client(**headers) as client:
        assert (await client.get("/v1/credentials")).status_code == 403
        own = await client.get("/v1/credentials", headers={"X-Postroad-Account": "main"})
        assert own.status_code == 200
    nowhere = await api.get("/v1/credentials", headers={"X-Postroad-Account": "nowhere"})
    assert nowhere.status_code == 404


async def test_limits_of_an_account_bound_what_it_has(site: Any, api: httpx.AsyncClient):
    await api.post("/v1/accounts", json={"id": "small", "limits": {"logins": 1}})
    async with site.client(**{"X-Postroad-Account": "small"}) as small:
        assert (await small.post("/v1/credentials", json={})).status_code == 201
        refused = await small.post("/v1/credentials", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "limit_reached")
        changed = await api.patch("/v1/accounts/small", json={"limits": {"logins": 0}})
        assert changed.json()["limits"] == {}
        assert (await small.post("/v1/credentials", json={})).status_code == 201
    wrong = await api.patch("/v1/accounts/small", json={"limits": {"ponies": 1}})
    assert wrong.json()["error"]["field"] == "limits.ponies"


async def test_account_of_verified_senders_is_refused_with_the_field_that_is_wrong(
    site: Any, api: httpx.AsyncClient
):
    await api.post("/v1/accounts", json={"id": "strict"})
    async with site.client(**{"X-Postroad-Account": "strict"}) as client:
        mail = {"recipient": "x@y.example", "from": "a@strict.example", "text": "hello"}
        refused = await client.post("/v1/send", json=mail)
        assert refused.status_code == 403
        error = refused.json()["error"]
        assert (error["code"], error["field"]) == ("sender_not_verified", "from")
        added = await client.post("/v1/domains", json={"domain": "strict.example", "trusted": True})
        assert added.status_code == 201, added.text
        assert {key["state"] for key in added.json()["keys"]} == {"active"}
        await until(lambda: _is_taken(client, mail))
    await site.empty()


async def _is_taken(client: httpx.AsyncClient, mail: dict[str, str]) -> bool:
    return (await client.post("/v1/send", json=mail)).status_code == 200


async def test_only_the_operator_vouches_for_a_domain(site: Any):
    secret = "pr_domains_of_one_account"
    await site.database.tokens.create(
        account="main", name="d", scopes=("*",), secret_hash=hash_token(secret)
    )
    async with site.client(Authorization=f"Bearer {secret}") as client:
        body = {"domain": "vouched.example", "trusted": True}
        assert (await client.post("/v1/domains", json=body)).status_code == 403
        body["trusted"] = False
        made = await client.post("/v1/domains", json=body)
        assert {key["state"] for key in made.json()["keys"]} == {"pending"}
        path = "/v1/domains/vouched.example/keys"
        assert (await client.post(path, json={"active": True})).status_code == 403
        assert (await client.post(path)).status_code == 200
        zone = await client.get("/v1/domains/vouched.example/zone")
        assert zone.headers["content-type"].startswith("text/plain")
        assert "$ORIGIN vouched.example." in zone.text


async def test_account_is_deleted_with_what_gives_access_to_it(site: Any, api: httpx.AsyncClient):
    await api.post("/v1/accounts", json={"id": "gone"})
    await make_user(site, "last@gone.example", "gone")
    async with site.client(**{"X-Postroad-Account": "gone"}) as client:
        await client.post("/v1/credentials", json={"name": "x"})
        token = (await client.post("/v1/tokens", json={"scopes": ["*"]})).json()["token"]
    assert (await api.delete("/v1/accounts/main")).status_code == 409
    assert (await api.delete("/v1/accounts/gone")).status_code == 409  # not suspended
    await api.patch("/v1/accounts/gone", json={"suspended": True})
    assert (await api.delete("/v1/accounts/gone")).status_code == 204
    assert await site.database.credentials.list("gone") == []
    assert await site.database.users.find("last@gone.example") is None
    assert await site.database.tokens.find_by_hash(hash_token(token)) is None


async def test_operator_looks_at_an_account_and_comes_back(site: Any, api: httpx.AsyncClient):
    await api.post("/v1/accounts", json={"id": "seen", "name": "Seen account"})
    async with logged_in(site, site.email, site.password) as client:
        await send(client, "/dashboard/accounts", "/dashboard/accounts/seen/enter")
        assert "Seen account" in (await client.get("/dashboard/account")).text
        await send(client, "/dashboard/account", "/dashboard/leave")
        assert "Main account" in (await client.get("/dashboard/account")).text


async def test_user_is_invited_changed_and_removed(site: Any):
    await make_user(site, "chief@users.example", "users", role="owner")
    await site.database.accounts.create(Account("users"))
    async with site.client(**{"X-Postroad-Account": "users"}) as admin:
        invited = await admin.post(
            "/v1/users", json={"email": "dev@users.example", "role": "developer"}
        )
        assert invited.status_code == 201, invited.text
        listed = (await admin.get("/v1/users")).json()["items"]
        assert [(item["email"], item["invited"]) for item in listed] == [
            ("chief@users.example", False),
            ("dev@users.example", True),
        ]
        assert (await admin.delete("/v1/users/dev@users.example")).status_code == 204
        client = await visit(site)
        assert (await client.get(invited.json()["link"])).status_code == 404
        alone = await admin.patch("/v1/users/chief@users.example", json={"role": "reader"})
        assert alone.status_code == 409
        assert (await admin.delete("/v1/users/chief@users.example")).status_code == 409
        await make_user(site, "second@users.example", "users", role="owner")
        changed = await admin.patch("/v1/users/chief@users.example", json={"role": "reader"})
        assert changed.json()["role"] == "reader"
        assert (await admin.get("/v1/users/admin@example.com")).status_code == 404


async def test_admin_makes_nobody_an_owner(site: Any):
    await make_user(site, "boss@ranks.example", "ranks", role="owner")
    await make_user(site, "admin@ranks.example", "ranks", role="admin")
    async with logged_in(site, "admin@ranks.example") as client:
        page = "/dashboard/users"
        for path, data in (
            ("/dashboard/users", {"email": "new@ranks.example", "role": "owner"}),
            ("/dashboard/users/admin@ranks.example/role", {"role": "owner"}),
            ("/dashboard/users/boss@ranks.example/role", {"role": "reader"}),
            ("/dashboard/users/boss@ranks.example/delete", {}),
        ):
            assert (await send(client, page, path, **data)).status_code == 403, path
    assert (await site.database.users.find("boss@ranks.example")).role == "owner"


async def test_owner_of_the_first_account_has_no_power_over_an_operator(site: Any):
    await make_user(site, "chief@main.example", "main", role="owner")
    path = f"/dashboard/users/{site.email}"
    async with logged_in(site, "chief@main.example") as client:
        for act, data in (("role", {"role": "reader"}), ("reset", {})):
            answer = await send(client, "/dashboard/users", f"{path}/{act}", **data)
            assert answer.status_code == 403, act
        removed = await send(client, "/dashboard/users", f"{path}/delete")
        assert removed.status_code == 409
    assert (await site.database.users.find(site.email)).role == "owner"


async def test_admin_cannot_take_over_an_owner_by_a_link_for_a_new_password(site: Any):
    await make_user(site, "boss@reset.example", "reset", role="owner")
    await make_user(site, "admin@reset.example", "reset", role="admin")
    async with logged_in(site, "admin@reset.example") as client:
        answer = await send(client, "/dashboard/users", "/dashboard/users/boss@reset.example/reset")
    assert answer.status_code == 403


async def test_link_for_a_new_password_ends_the_sessions_of_the_user(
    site: Any, api: httpx.AsyncClient
):
    await make_user(site, "lost@main.example")
    async with logged_in(site, "lost@main.example") as old:
        made = await api.post("/v1/users/lost@main.example/reset")
        link = made.json()["link"]
        key = re.sub(".*key=", "", link)
        client = await visit(site)
        await send(client, link, "/dashboard/reset", key=key, password="another password")
        assert (await old.get("/dashboard")).status_code == 303
    async with logged_in(site, "lost@main.example", "another password"):
        pass


async def test_role_that_is_taken_away_is_gone_in_sessions_that_stand(site: Any):
    await make_user(site, "soon@less.example", "less", role="admin")
    async with logged_in(site, "soon@less.example") as client:
        assert (await client.get("/dashboard/users")).status_code == 200
        await site.database.users.set_role("less", "soon@less.example", "reader")
        assert (await client.get("/dashboard/users")).status_code == 403


async def test_log_out_ends_copies_of_the_cookie_too(site: Any):
    await make_user(site, "copied@main.example")
    async with logged_in(site, "copied@main.example") as client, await visit(site) as thief:
        thief.cookies.set("postroad_session", client.cookies["postroad_session"])
        assert (await thief.get("/dashboard")).status_code == 200
        await send(client, "/dashboard", "/dashboard/logout")
        assert (await thief.get("/dashboard")).status_code == 303


async def test_sessions_are_listed_ended_one_by_one_and_all_at_once(site: Any):
    email = "many@main.example"
    await make_user(site, email)
    first, second, third = [await log_in(site, email) for _ in range(3)]
    page = "/dashboard/profile"
    ids = re.findall(r'name="session" value="(\w+)"', (await first.get(page)).text)
    assert len(ids) == 3
    own = await _id_of(first)
    other = next(item for item in ids if item != own)
    await send(first, page, "/dashboard/profile/sessions/end", session=other)
    left = [(await client.get(page)).status_code for client in (first, second, third)]
    assert sorted(left) == [200, 200, 303]
    await send(first, page, "/dashboard/profile/sessions/end-all")
    for client in (first, second, third):
        assert (await client.get(page)).status_code == 303
        await client.aclose()


async def _id_of(client: httpx.AsyncClient) -> str:
    page = (await client.get("/dashboard/profile")).text
    found = re.search(r'this one.*?name="session" value="(\w+)"', page, re.DOTALL)
    assert found
    return found[1]


async def test_password_is_changed_by_who_knows_it_and_other_sessions_end(site: Any):
    email = "changing@main.example"
    await make_user(site, email)
    other = await log_in(site, email)
    page, path = "/dashboard/profile", "/dashboard/profile/password"
    async with logged_in(site, email) as client:
        wrong = await send(client, page, path, password="wrong", new_password="x" * 12)
        assert wrong.status_code == 400
        done = await send(client, page, path, password=NEW, new_password="x" * 12)
        assert done.status_code == 303, done.text
        assert (await client.get(page)).status_code == 200
        assert (await other.get(page)).status_code == 303
    await other.aclose()
    async with logged_in(site, email, "x" * 12):
        pass


async def test_second_factor_is_asked_for_and_a_code_works_once(site: Any):
    email = "careful@main.example"
    await make_user(site, email)
    page = "/dashboard/profile"
    async with logged_in(site, email) as client:
        proposed = await send(client, page, "/dashboard/profile/factor")
        assert proposed.headers["location"] == f"{page}/factor/new"
        shown = (await client.get(f"{page}/factor/new")).text
        assert "<svg" in shown
        found = re.search(r'name="secret" value="(\w+)"', shown)
        assert found
        totp = pyotp.TOTP(found[1])
        enable = "/dashboard/profile/factor/enable"
        wrong = await send(client, page, enable, secret=found[1], code="000000", password=NEW)
        assert wrong.status_code == 400
        assert (await client.get(f"{page}/factor/new")).text.count(found[1]) > 1
        done = await send(client, page, enable, secret=found[1], code=totp.now(), password=NEW)
        codes = await client.get(done.headers["location"])
        recovery = re.findall(r'data-copy="([0-9a-f]{10})"', codes.text)
        assert len(recovery) == 8
    stored = await site.database.users.find(email)
    assert found[1] not in (stored.totp or found[1])  # it is sealed
    async with await visit(site) as client:
        page = "/dashboard/login"
        asked = await send(client, page, page, email=email, password=NEW)
        assert "postroad_session" not in client.cookies
        for code, status in ((recovery[0], 303), (recovery[0], 401)):
            form = dict(re.findall(r'name="(csrf|step|next)" value="([^"]*)"', asked.text))
            answer = await client.post("/dashboard/login/code", data={**form, "code": code})
            assert answer.status_code == status, answer.text
            asked = await send(client, page, page, email=email, password=NEW)


async def test_code_of_an_app_works_in_its_own_and_the_neighbouring_half_minutes_once(site: Any):
    now = [1_800_000_000.0]
    factor = SecondFactor(site.database.users, Keyring(["a secret of ours"]), lambda: now[0])
    await make_user(site, "app@main.example")
    secret, uri = factor.propose("app@main.example")
    assert uri.startswith("otpauth://totp/Postroad:app%40main.example?secret=")
    totp = pyotp.TOTP(secret)
    assert await factor.enable("app@main.example", secret, totp.at(int(now[0])))
    user = await site.database.users.find("app@main.example")
    assert not await factor.check(user, totp.at(int(now[0]) - 2 * STEP_SECONDS))
    assert await factor.check(user, totp.at(int(now[0])))
    assert not await factor.check(user, totp.at(int(now[0])))
    assert await factor.check(user, totp.at(int(now[0]) + STEP_SECONDS))
    assert not await factor.check(user, totp.at(int(now[0])))  # older than one that was used
    foreign = SecondFactor(site.database.users, Keyring(["another secret"]), lambda: now[0])
    now[0] += 10 * STEP_SECONDS
    assert not await foreign.check(user, totp.at(int(now[0])))


async def test_second_factor_outlives_the_secret_that_sealed_it_once_its_owner_has_logged_in(
    site: Any,
):
    email, now = "rotated@main.example", [1_800_000_000.0]
    users = site.database.users

    def factor(*keys: str) -> SecondFactor:
        return SecondFactor(users, Keyring(keys), lambda: now[0])

    await make_user(site, email)
    secret, _uri = factor("the secret of before").propose(email)
    code = pyotp.TOTP(secret).at
    assert await factor("the secret of before").enable(email, secret, code(int(now[0])))
    for keys in (
        ("the secret of before", "the secret from now on"),  # known to all, signs nothing yet
        ("the secret from now on", "the secret of before"),
        ("the secret from now on",),
    ):
        now[0] += 2 * STEP_SECONDS
        assert await factor(*keys).check(await users.find(email), code(int(now[0]))), keys


async def test_guesses_from_elsewhere_do_not_keep_the_owner_out(site: Any):
    email = "owner@guess.example"
    await make_user(site, email, "guess")
    await site.database.users.logged_in(email, "192.0.2.1")
    passwords = PasswordCheck(site.database.users, TokenBuckets(3, 0.0001))
    for number in range(10):
        with contextlib.suppress(ApiError):
            assert await passwords.find(email, "guess", f"198.51.100.{number}") is None
    with pytest.raises(ApiError):
        await passwords.find(email, NEW, "198.51.100.99")  # the name is guarded for strangers
    for _ in range(5):  # and success takes no place
        found = await passwords.find(email, NEW, "192.0.2.1")
        assert isinstance(found, User)


async def test_ipv6_addresses_of_one_network_share_a_bound(site: Any):
    passwords = PasswordCheck(site.database.users, TokenBuckets(2, 0.0001))
    statuses = []
    for number in range(4):
        try:
            await passwords.find(f"nobody{number}@x.example", "guess", f"2001:db8::{number:x}")
            statuses.append(401)
        except ApiError as error:
            statuses.append(error.status)
    assert statuses == [401, 401, 429, 429]


async def test_change_in_the_dashboard_is_told_as_the_users(site: Any, browser: httpx.AsyncClient):
    await send(browser, "/dashboard/domains", "/dashboard/domains", name="told.example")
    (entry,) = await site.database.audit.list("main", target="told.example", noun="domains")
    assert (entry.actor.kind, entry.actor.id) == ("user", site.email)
    assert "PRIVATE KEY" not in str(entry)
    page = await browser.get("/dashboard/audit", params={"noun": "domains"})
    assert "told.example" in page.text


async def test_forgotten_password_is_mailed_and_strangers_are_told_the_same(site: Any):
    sent: list[tuple[str, str, str]] = []

    async def notify(address: str, subject: str, text: str) -> None:
        sent.append((address, subject, text))

    users = site.dependencies.user_administration
    mailing = type(users)(
        site.database.users, site.database.invitations, site.database.sessions,
        clock=site.dependencies.clock, base_url="https://mail.example", notify=notify,
    )  # fmt: skip
    await make_user(site, "forgetful@main.example")
    await mailing.forgot("nobody@main.example")
    await mailing.forgot("Forgetful@main.example")
    ((address, _, text),) = sent
    assert address == "forgetful@main.example"
    found = re.search(r"https://mail\.example(/dashboard/reset\?key=\S+)", text)
    assert found
    async with await visit(site) as client:
        assert (await client.get(found[1])).status_code == 200
        pages = [
            (await send(client, "/dashboard/forgot", "/dashboard/forgot", email=email)).text
            for email in ("nobody@main.example", "forgetful@main.example")
        ]
    assert pages[0] == pages[1]
