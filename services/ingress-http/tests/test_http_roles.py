"""Who may do what: every route of the API and the dashboard, with every role.

The table here is written by hand, from what the roles are meant for; a route that is missing in
it fails the test, and so does one that asks for more or less than the table says.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from postroad_common.schemas import events
from postroad_common.secrets import hash_password, hash_token
from postroad_common.store.accounts import Account
from postroad_ingress_http import api, dashboard
from postroad_ingress_http.access.scopes import EVERYTHING, OPERATOR, allows, scopes_of
from postroad_ingress_http.dashboard.permissions import needed_for
from postroad_testing.factories import submission
from postroad_testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = ("owner", "admin", "developer", "reader", "operator")
WORKERS = {"owner", "admin", "developer"}
LEADERS = {"owner", "admin"}
ALL = {*WORKERS, "reader"}
LOOK_AND_CHANGE = {
    # noun: who looks, who changes
    "send": (WORKERS, WORKERS),
    "messages": (ALL, WORKERS),
    "credentials": (ALL, WORKERS),
    "tokens": (WORKERS, WORKERS),
    "suppressions": (ALL, WORKERS),
    "addresses": (LEADERS, LEADERS),
    "webhooks": (ALL, WORKERS),
    "domains": (ALL, WORKERS),
    "templates": (ALL, WORKERS),
    "users": (LEADERS, LEADERS),
    "audit": (LEADERS, LEADERS),
    "account": (ALL, {"owner"}),
    "accounts": ({"operator"}, {"operator"}),
    "lanes": ({"operator"}, {"operator"}),
    "queues": ({"operator"}, {"operator"}),
}
"""An operator here is a reader of the first account who looks after the installation."""
NOUN_OF_PATH = {
    "resend": "send",
    "scheduled": "messages",
    "jobs": "messages",
    "preview": "send",
    "events": "messages",
    "feeds": "messages",
    "stats": "messages",
    "logfiles": "messages",
    "recipient": "messages",
    "envelope": "messages",
    "headers": "messages",
    "header": "messages",
    "text": "messages",
    "html": "messages",
    "attachments": "messages",
    "embeds": "messages",
    "content": "messages",
    "raw": "messages",
    "template": "templates",
    "recent-tags": "messages",
    "tag": "messages",
    "domain": "domains",
    "dns": "domains",
    "dkimkey": "domains",
    "dkimkeys": "domains",
    "dmarc": "domains",
    "spf": "domains",
    "webhook": "webhooks",
    "feedbackloop": "webhooks",
    "feedbackloops": "webhooks",
    "datarequest": "addresses",
    "installation": "accounts",
}
NOUN_OF_PAGE = {
    "stats": "messages",
    "": "messages",
    "bounces": "messages",
    "feeds": "messages",
    "feeds/deployment": "queues",
    "jobs": "messages",
    "start": "messages",
    "logins": "credentials",
}
LOOKING = {("POST", "/v1/templates/{template}/fill")}
"""What changes nothing though it is no GET."""
OF_EVERYBODY = {"smtp-ca.pem", "profile", "searches", "logout", "leave", "secret"}
OF_VISITORS = {"login", "join", "reset", "forgot"}


def operations() -> Iterator[tuple[str, str]]:
    for router in api.ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield from ((method, route.path) for method in route.methods)


def pages() -> Iterator[tuple[str, str]]:
    for router in dashboard.ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            if route.path.startswith("/dashboard"):
                yield from ((method, route.path) for method in route.methods)


def allowed(noun: str, method: str) -> set[str]:
    look, change = LOOK_AND_CHANGE[noun]
    found = look if method == "GET" else change
    return found | {"operator"} if "reader" in found else found


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "not-there-1", path)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tokens(site: Any) -> AsyncIterator[dict[str, str]]:
    made = {}
    for role in ROLES:
        secret = f"pr_role_{role}_0123456789abcdef"
        scopes = scopes_of("reader" if role == "operator" else role, operator=role == "operator")
        await site.database.tokens.create(
            account="roles", name=role, scopes=scopes, secret_hash=hash_token(secret)
        )
        made[role] = secret
    yield made


@pytest.mark.parametrize("role", ROLES)
async def test_every_operation_is_for_the_roles_that_the_table_says(
    site: Any, tokens: dict[str, str], role: str
):
    wrong = []
    async with site.client(Authorization=f"Bearer {tokens[role]}") as client:
        for method, path in operations():
            first = path.removeprefix("/v1/").partition("/")[0]
            noun = NOUN_OF_PATH.get(first, first)
            answer = await client.request(method, filled(path), json={})
            refused = answer.status_code == 403 and "lacks the scope" in answer.text
            done = "GET" if (method, path) in LOOKING else method
            if refused is (role in allowed(noun, done)):
                wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


async def log_in(site: Any, email: str, address: str = "127.0.0.1") -> httpx.AsyncClient:
    client: httpx.AsyncClient = site.client(address)
    del client.headers["Authorization"]
    csrf = site.csrf_of((await client.get("/dashboard/login")).text)
    data = {"csrf": csrf, "email": email, "password": site.password}
    answer = await client.post("/dashboard/login", data=data)
    assert answer.status_code == 303, answer.text
    return client


@asynccontextmanager
async def logged_in(site: Any, email: str) -> AsyncIterator[httpx.AsyncClient]:
    client = await log_in(site, email)
    yield client
    await client.aclose()


@pytest.mark.parametrize("role", ROLES)
async def test_every_page_is_for_the_roles_that_the_table_says(site: Any, role: str):
    email = f"{role}@roles.example"
    await site.database.users.create(
        email,
        "roles",
        hash_password(site.password),
        role="reader" if role == "operator" else role,
        operator=role == "operator",
    )
    wrong = []
    async with logged_in(site, email) as client:
        csrf = site.csrf_of((await client.get("/dashboard/profile")).text)
        for method, path in pages():
            first = path.removeprefix("/dashboard").strip("/").partition("/")[0]
            if first in OF_VISITORS | OF_EVERYBODY:
                continue
            two = "/".join(path.split("/")[2:4])
            noun = NOUN_OF_PAGE.get(two) or NOUN_OF_PAGE.get(first, first)
            form = {"csrf": csrf} if method == "POST" else None
            answer = await client.request(method, filled(path), data=form)
            assert answer.status_code != 303 or "/login" not in answer.headers["location"], path
            refused = answer.status_code == 403 and "lacks the scope" in answer.text
            if refused is (role in allowed(noun, method)):
                wrong.append((method, path, answer.status_code))
    assert wrong == []


async def ensure_account(site: Any) -> None:
    """Make the account of the users, unless it is there."""
    if await site.database.accounts.find("roles") is None:
        await site.database.accounts.create(Account("roles"))


LOOKED_AT = (
    "", "/messages?state=failed", "/messages/{message}", "/jobs", "/jobs/new?act=resend&tag=x",
    "/templates", "/templates/new", "/suppressions", "/feeds", "/logins", "/webhooks",
    "/webhooks/{hook}", "/webhooks/{hook}/deliveries/{delivery}", "/domains",
    "/domains/roles.example", "/users", "/account", "/start", "/tokens", "/profile", "/lanes",
    "/queues", "/accounts",
)  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
async def test_pages_offer_only_what_the_role_may_do(site: Any, role: str):
    database = site.database
    await ensure_account(site)
    hook = await database.webhooks.create(
        account="roles", url="https://hooks.example/", events=(), secret="whsec_QQ"
    )
    delivery = await database.outbox.add_call(hook, "test", {})
    await site.dependencies.domains.add("roles", f"{role}.roles.example")
    mail = submission("ann@reader.example", account="roles")
    told = [events.accepted(mail, mail.recipients[0])]
    await database.events.insert(told)
    await database.messages.apply(told)
    names = {"message": mail.recipients[0].id, "hook": hook.id, "delivery": delivery}
    operator = role == "operator"
    scopes = scopes_of("reader" if operator else role, operator=operator)
    wrong, seen = [], 0
    async with logged_in(site, f"{role}@roles.example") as client:
        for page in LOOKED_AT:
            path = f"/dashboard{page}".format(**names).replace("/roles.", f"/{role}.roles.")
            answer = await client.get(path)
            if answer.status_code == 403:
                continue
            assert answer.status_code == 200, path
            forms = re.findall(
                r'<form method="post" action="([^"]+)"(.*?)</form>', answer.text, re.DOTALL
            )
            for action in (action for action, form in forms if "<button" in form):
                seen += 1
                needed = needed_for(action, "POST")
                if needed is not None and not allows(scopes, needed):
                    wrong.append((path, action))
    assert seen > 20
    assert wrong == []


async def test_menu_leads_only_to_pages_that_the_role_may_see(site: Any):
    await ensure_account(site)
    async with logged_in(site, "reader@roles.example") as client:
        links = set(re.findall(r'<li><a href="(/[^"]*)"', (await client.get("/dashboard")).text))
        assert "/dashboard/logins" in links
        assert not links & {"/dashboard/lanes", "/dashboard/users", "/dashboard/accounts"}
        for link in links:
            assert (await client.get(link)).status_code == 200, link


@pytest.mark.parametrize(
    ("held", "body", "status"),
    [
        (["tokens", "send"], {"scopes": ["send"]}, 201),
        (["tokens", "send"], {"scopes": ["messages"]}, 403),
        ([EVERYTHING], {"scopes": ["lanes"]}, 403),
        ([EVERYTHING], {"scopes": [OPERATOR]}, 403),
        ([EVERYTHING, OPERATOR], {"scopes": ["*", "operator"]}, 201),
    ],
)
async def test_token_hands_out_no_scope_beyond_its_own(
    site: Any, held: list[str], body: dict[str, Any], status: int
):
    secret = "pr_holder_" + "_".join(held).replace("*", "all")
    await site.database.tokens.create(
        account="holders", name="h", scopes=tuple(held), secret_hash=hash_token(secret)
    )
    async with site.client(Authorization=f"Bearer {secret}") as client:
        answer = await client.post("/v1/tokens", json=body)
    assert answer.status_code == status, answer.text


async def holder(site: Any, name: str, **bounds: Any) -> httpx.AsyncClient:
    secret = f"pr_bounded_{name}_0123456789"
    scopes = bounds.pop("scopes", (EVERYTHING,))
    await site.database.tokens.create(
        account="bounded", name=name, scopes=scopes, secret_hash=hash_token(secret), **bounds
    )
    client: httpx.AsyncClient = site.client(Authorization=f"Bearer {secret}")
    return client


async def test_token_for_logins_alone_makes_none_because_logins_send(site: Any):
    async with await holder(site, "logins", scopes=("credentials",)) as client:
        answer = await client.post("/v1/credentials", json={"name": "x"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "insufficient_scope"
    assert await site.database.credentials.list("bounded") == []


async def test_login_may_send_from_no_more_than_the_token_that_makes_it(site: Any):
    async with await holder(site, "domain", sender_domains=("shop.example",)) as client:
        wide = await client.post("/v1/credentials", json={"name": "wide"})
        assert wide.status_code == 403
        assert wide.json()["error"]["field"] == "sender_domains"
        other = {"name": "other", "sender_domains": ["shop.example", "bank.example"]}
        assert (await client.post("/v1/credentials", json=other)).status_code == 403
        made = await client.post(
            "/v1/credentials", json={"name": "same", "sender_domains": ["Shop.example"]}
        )
        assert made.status_code == 201, made.text
        path = f"/v1/credentials/{made.json()['username']}"
        widened = await client.patch(path, json={"sender_domains": []})
        assert widened.status_code == 403
        assert (await client.patch(path, json={"name": "renamed"})).status_code == 200
        token = await client.post("/v1/tokens", json={"scopes": ["send"]})
        assert token.status_code == 403
        wider = await site.database.credentials.create(
            account="bounded", username="wider", password_hash="x", name="w",
            features=(await site.database.credentials.list("bounded"))[0].features,
        )  # fmt: skip
        rotated = await client.post(f"/v1/credentials/{wider.username}/rotate")
        assert rotated.status_code == 403  # its password would let the holder send from anywhere


async def test_token_works_from_its_networks_and_hands_out_no_wider_ones(site: Any):
    secret = "pr_network_0123456789abc"
    await site.database.tokens.create(
        account="bounded", name="n", scopes=("*",), secret_hash=hash_token(secret),
        networks=("192.0.2.0/24",),
    )  # fmt: skip
    authorization = {"Authorization": f"Bearer {secret}"}
    async with site.client("198.51.100.1", **authorization) as client:
        answer = await client.get("/v1/credentials")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "network_not_allowed")
    async with site.client("192.0.2.9", **authorization) as client:
        assert (await client.get("/v1/credentials")).status_code == 200
        for networks, status in (([], 403), (["192.0.0.0/16"], 403), (["192.0.2.8/29"], 201)):
            body = {"scopes": ["send"], "networks": networks}
            assert (await client.post("/v1/tokens", json=body)).status_code == status


async def test_token_expires_and_hands_out_none_that_lasts_longer(site: Any):
    async with await holder(site, "old", expires=1.0) as client:
        answer = await client.get("/v1/credentials")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "expired_token")
    async with await holder(site, "soon", expires=3e9) as client:
        for expires, status in ((None, 403), ("2099-01-01", 403), ("2050-01-01", 201)):
            body = {"scopes": ["send"], "expires": expires}
            answer = await client.post("/v1/tokens", json=body)
            assert answer.status_code == status, answer.text


async def test_use_of_a_token_is_noted(site: Any, api: httpx.AsyncClient):
    made = (await api.post("/v1/tokens", json={"name": "used", "scopes": ["domains"]})).json()
    assert made["last_used"] is None
    async with site.client(Authorization=f"Bearer {made['token']}") as client:
        assert (await client.get("/v1/domains")).status_code == 200
    await until(lambda: _is_used(site, made["id"]))
    (shown,) = [
        item for item in (await api.get("/v1/tokens")).json()["items"] if item["id"] == made["id"]
    ]
    assert abs(shown["last_used"] - site.dependencies.clock()) < 600


async def _is_used(site: Any, token_id: str) -> bool:
    found = await site.database.tokens.list("main")
    return any(token.last_used is not None for token in found if token.id == token_id)


async def test_limited_token_lets_in_nobody_who_is_not(site: Any):
    bounds: dict[str, dict[str, Any]] = {
        "tests": {"test": True},
        "domains": {"sender_domains": ("shop.example",)},
        "networks": {"networks": ("127.0.0.0/8",)},
        "expires": {"expires": 3e9},
        "free": {},
    }
    for name, bound in bounds.items():
        looks = 201 if name in {"tests", "domains", "free"} else 403
        sends = 201 if name == "free" else 403
        scopes = (EVERYTHING, OPERATOR)
        async with await holder(site, f"letin{name}", scopes=scopes, **bound) as client:
            for role, status in (("developer", sends), ("reader", looks)):
                email = f"{name}-{role}@letin.example"
                invited = await client.post("/v1/users", json={"email": email, "role": role})
                assert invited.status_code == status, (name, role, invited.text)
                user = f"user-{email}"
                await site.database.users.create(user, "bounded", "x", role=role)
                reset = await client.post(f"/v1/users/{user}/reset")
                assert (reset.status_code == 403) == (status == 403), (name, role, reset.text)
            raised = await client.patch(
                f"/v1/users/user-{name}-reader@letin.example", json={"role": "admin"}
            )
            assert (raised.status_code == 403) == (name != "free"), (name, raised.text)
            account = {"id": f"of-{name}", "name": "x", "owner": f"{name}@owner.example"}
            made = await client.post("/v1/accounts", json=account)
            assert made.status_code == sends, (name, made.text)
    async with await holder(site, "fleeting", expires=3e9) as client:
        assert (await client.post("/v1/credentials", json={"name": "x"})).status_code == 403


async def test_time_that_a_token_ends_is_taken_in_every_form(site: Any):
    async with await holder(site, "forms") as client:
        for expires, told in (
            (4_000_000_000, 4e9),
            (4_000_000_000.5, 4_000_000_000.5),
            ("4000000000", 4e9),
            ("2096-10-02", 3_999_974_400.0),
            ("2096-10-02 07:06:40", 4e9),
            ("2096-10-02T09:06:40+02:00", 4e9),
            (None, None),
        ):
            answer = await client.post("/v1/tokens", json={"scopes": ["send"], "expires": expires})
            assert (answer.status_code, answer.json().get("expires")) == (201, told), answer.text
        for expires in ("soon", "2096-10-02 25:00:00", "1e9"):
            answer = await client.post("/v1/tokens", json={"scopes": ["send"], "expires": expires})
            error = answer.json()["error"]
            assert (answer.status_code, error["field"]) == (400, "expires")
            assert "2026-11-21 14:30:00" in error["message"]
            assert "Unix seconds" in error["message"]
        past = await client.post("/v1/tokens", json={"scopes": ["send"], "expires": 1e9})
        assert past.json()["error"]["message"] == "This time is past."
