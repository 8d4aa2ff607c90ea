"""Single sign-on with a real OpenID provider in this process, which signs real tokens, also bad."""

import base64
import hashlib
import html
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from postroad_common.listener import HttpListener
from postroad_common.secrets import hash_password
from postroad_common.store.invitations import Invitation
from postroad_ingress_http.access.identity import IdentityProvider, SignedOn
from postroad_ingress_http.access.rolerules import RoleRules
from postroad_ingress_http.access.singlesignon import SingleSignOn
from postroad_ingress_http.http.errors import ApiError

pytestmark = pytest.mark.asyncio(loop_scope="module")
_CLIENT, _SECRET = "postroad", "a secret of the client 0123456789"
_ROLES = RoleRules(
    claim="access.roles",
    roles={"mail-admins": "admin", "staff": "reader"},
    account="main",
    scope="groups",
)
Claims = dict[str, Any]


class Provider:
    """A small OpenID provider. `change` alters what it says, `sign` how it signs, for one test."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})]
        self.scopes: list[str] = []
        self.email: str = "nobody@sign.example"
        self.verified: object = True
        self.change: Callable[[Claims], None] = lambda _: None
        self.sign: Callable[[Claims], str] = self.sign_well
        self.issuer = ""
        self.codes: dict[str, tuple[str, str]] = {}
        self.asked_for_keys = 0
        self.ends_at = ""
        self.left: list[dict[str, str]] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.describe),
                Route("/keys", self.show_keys),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/leave", self.leave),
            ]
        )

    async def describe(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                **({"end_session_endpoint": self.ends_at} if self.ends_at else {}),
            }
        )

    async def leave(self, request: Request) -> Response:
        self.left.append(dict(request.query_params))
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], 302)

    async def show_keys(self, _: Request) -> Response:
        self.asked_for_keys += 1
        return JSONResponse({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def authorize(self, request: Request) -> Response:
        query = request.query_params
        assert query["response_type"] == "code"
        assert query["client_id"] == _CLIENT
        assert query["code_challenge_method"] == "S256"
        self.scopes.append(query["scope"])
        code = f"code{len(self.codes)}"
        self.codes[code] = query["nonce"], query["code_challenge"]
        return RedirectResponse(f"{query['redirect_uri']}?code={code}&state={query['state']}", 302)

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        basic = base64.b64encode(f"{_CLIENT}:{_SECRET}".encode()).decode()
        nonce, challenge = self.codes.pop(form["code"][0], ("", ""))
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if request.headers.get("authorization") != f"Basic {basic}" or made != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "1", "aud": _CLIENT, "iat": now, "exp": now + 60,
            "nonce": nonce, "email": self.email, "email_verified": self.verified,
        }  # fmt: skip
        self.change(claims)
        return JSONResponse(
            {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}
        )

    def sign_well(self, claims: Claims) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    listener = HttpListener(made.app(), "127.0.0.1", 0)
    made.issuer = f"http://127.0.0.1:{listener.port}"
    await listener.start()
    yield made
    await listener.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sso(
    request: pytest.FixtureRequest, servers: tuple[str, str], provider: Provider
) -> AsyncIterator[Any]:
    """Yield a site whose users log in with the provider."""
    folder = str(Path(__file__).with_name("conftest.py"))
    plugins = request.config.pluginmanager.get_plugins()
    (own,) = [each for each in plugins if getattr(each, "__file__", "") == folder]
    uri = own.own_database(servers[1])
    async with own.run_site(
        servers[0], uri, oidc_issuer=provider.issuer, oidc_client_id=_CLIENT,
        oidc_client_secret=_SECRET, oidc_label="Our <login>", oidc_roles=_ROLES,
    ) as running:  # fmt: skip
        await running.database.users.create("ann@sign.example", "main", hash_password("x" * 12))
        yield running
    await own.drop(uri)


@pytest.fixture(autouse=True)
def _honest(provider: Provider) -> None:
    provider.email, provider.verified = "ann@sign.example", True
    provider.change, provider.sign = (lambda _: None), provider.sign_well
    provider.ends_at = f"{provider.issuer}/leave?realm=mail"
    del provider.keys[1:]


async def leave(client: httpx.AsyncClient, target: str = "") -> str:
    """Go to the provider; return the page that it sends the visitor back to."""
    begun = await client.get("/dashboard/login/oidc", params={"next": target})
    assert begun.status_code == 303, begun.text
    async with httpx.AsyncClient() as outside:
        answer = await outside.get(begun.headers["location"])
    back = urlsplit(answer.headers["location"])
    assert back.path == "/dashboard/login/oidc/back"
    return f"{back.path}?{back.query}"


async def sign_on(site: Any, target: str = "") -> httpx.Response:
    async with site.client() as client:
        del client.headers["Authorization"]
        answer = await client.get(await leave(client, target))
        if answer.status_code == 303:
            assert (await client.get("/dashboard/messages")).status_code == 200
        else:
            assert "postroad_session" not in client.cookies
        return answer


async def test_a_user_signs_on_and_goes_where_they_wanted_to(sso: Any):
    async with sso.client() as client:
        page = await client.get("/dashboard/login?next=/dashboard/bounces")
    assert "Log in with Our &lt;login&gt;" in page.text
    answer = await sign_on(sso, "/dashboard/bounces")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/bounces"
    assert (await sign_on(sso, "//evil.example")).headers["location"] == "/dashboard"


async def test_who_is_invited_becomes_a_user_and_nobody_else(sso: Any, provider: Provider):
    provider.email = "Bob@sign.example"
    refused = await sign_on(sso)
    assert refused.status_code == 403
    assert "bob@sign.example is no user here" in refused.text
    now = time.time()
    await sso.database.invitations.create(
        Invitation("h" * 64, "invitation", "bob@sign.example", "main", "reader", now, now + 60)
    )
    assert (await sign_on(sso)).status_code == 303
    user = await sso.database.users.find("bob@sign.example")
    assert (user.account, user.role) == ("main", "reader")
    assert (await sign_on(sso)).status_code == 303
    told = await sso.database.audit.list("main", noun="users", target="bob@sign.example")
    assert told[0].actor.id == "bob@sign.example"


def _said(**changes: Any) -> Callable[[Provider], None]:
    def change(provider: Provider) -> None:
        provider.change = lambda claims: claims.update(changes)

    return change


async def test_claims_give_roles_and_without_them_all_is_as_it_was(sso: Any, provider: Provider):
    users = sso.database.users
    await users.create("carl@sign.example", "main", hash_password("x" * 12), role="developer")
    await users.create("only@alone.example", "alone", hash_password("x" * 12), role="owner")
    known = ["", "carl@sign.example", "new@sign.example", "only@alone.example"]
    for email, claims, status, role in (
        (known[1], {}, 303, "developer"),
        (known[1], {"access": {"roles": ["others"]}}, 303, "developer"),
        (known[1], {"access": {"roles": ["staff", "mail-admins", 7]}}, 303, "admin"),
        (known[1], {"access.roles": "staff"}, 303, "reader"),
        (known[1], {"access": "staff"}, 303, "reader"),
        (known[2], {"access": {"roles": ["others"]}}, 403, None),
        (known[2], {"access": {"roles": ["staff"]}}, 303, "reader"),
        (known[3], {"access": {"roles": ["staff"]}}, 303, "owner"),
        (known[3], {"access": {"roles": ["staff"]}, "email_verified": False}, 403, "owner"),
    ):
        provider.email = email
        _said(**claims)(provider)
        assert (await sign_on(sso)).status_code == status, (email, claims)
        user = await users.find(email)
        assert (user and user.role) == role, (email, claims)
    assert user.account == "alone"
    assert (await users.find(known[2])).account == "main"
    told = await sso.database.audit.list("main", noun="users", target="carl@sign.example")
    assert told[0].actor.id == "carl@sign.example"
    assert provider.scopes[-1] == "openid email groups"


async def test_role_rules_are_read_strictly():
    for wrong in ({"roles": {"a": "king"}}, {"claim": ""}, {"role": {}}):
        with pytest.raises(ValidationError):
            RoleRules.model_validate(wrong)


def _without(name: str) -> Callable[[Provider], None]:
    def change(provider: Provider) -> None:
        provider.change = lambda claims: claims.pop(name)  # type: ignore[arg-type,return-value]

    return change


def _signed_by_another(provider: Provider) -> None:
    other = RSAKey.generate_key(2048, {"kid": "one"})
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, other)


def _signed_by_nobody(provider: Provider) -> None:
    def sign(claims: Claims) -> str:
        _, body, _ = provider.sign_well(claims).split(".")
        head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        return f"{head}.{body}."

    provider.sign = sign


def _signed_with_the_secret(provider: Provider) -> None:
    key = OctKey.import_key(_SECRET)
    provider.sign = lambda claims: jwt.encode({"alg": "HS256"}, claims, key)


@pytest.mark.parametrize(
    "spoil",
    [
        _said(iss="https://evil.example"),
        _said(aud="another"),
        _said(aud=["postroad", "another"], azp="another"),
        _said(nonce="another"),
        _said(exp=1),
        _said(iat=int(time.time()) + 10_000),
        _said(email_verified=False),
        _said(email=["ann@sign.example"]),
        _without("nonce"),
        _without("email_verified"),
        _without("exp"),
        _signed_by_another,
        _signed_by_nobody,
        _signed_with_the_secret,
    ],
    ids=[
        "issuer", "audience", "party", "nonce", "expired", "future", "unverified", "list",
        "no-nonce", "no-verification", "no-end", "key", "none", "hmac",
    ],
)  # fmt: skip
async def test_a_token_that_is_not_right_lets_nobody_in(
    sso: Any, provider: Provider, spoil: Callable[[Provider], None]
):
    spoil(provider)
    answer = await sign_on(sso)
    assert answer.status_code == 403
    assert "The sign-on did not work" in answer.text


async def test_an_answer_works_once_for_the_browser_that_asked(sso: Any, provider: Provider):
    async with sso.client() as mine, sso.client() as other:
        back = await leave(mine)
        await leave(other)
        assert (await other.get(back)).status_code == 403  # another attempt's state
        foreign = f"{back}&iss=https://evil.example"
        assert (await mine.get(foreign)).status_code == 403
        assert (await mine.get(back)).status_code == 403  # the attempt is over
        refused = await mine.get("/dashboard/login/oidc/back?error=access_denied&state=x")
        assert refused.status_code == 403
    async with sso.client() as mine:
        back = await leave(mine)
        provider.codes.clear()
        assert "does not take the code" in (await mine.get(back)).text


async def through(sign_on: SingleSignOn) -> SignedOn:
    """Begin and finish without the dashboard; return who came back."""
    url, attempt = await sign_on.begin("http://here.example/back", "")
    async with httpx.AsyncClient() as client:
        back = urlsplit((await client.get(url)).headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    return await sign_on.finish(attempt, "http://here.example/back", query)


async def test_new_keys_of_the_provider_are_asked_for_but_not_all_the_time(provider: Provider):
    now = [time.time()]
    sign_on = SingleSignOn(IdentityProvider(provider.issuer, _CLIENT, _SECRET), lambda: now[0])
    assert (await through(sign_on)).email == "ann@sign.example"
    provider.keys.append(RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}))
    asked = provider.asked_for_keys
    with pytest.raises(ApiError, match="No key"):
        await through(sign_on)
    assert provider.asked_for_keys == asked
    now[0] += 40
    assert (await through(sign_on)).email == "ann@sign.example"
    assert provider.asked_for_keys == asked + 1


async def test_a_provider_that_is_away_or_another_is_told(provider: Provider):
    for issuer, told in (
        ("http://127.0.0.1:1", "ConnectError"),
        (f"{provider.issuer}/", "another issuer"),
        (f"{provider.issuer}/nothing", "status 404"),
    ):
        with pytest.raises(ApiError, match=told) as refusal:
            await SingleSignOn(IdentityProvider(issuer, _CLIENT), time.time).begin("http://x", "")
        assert refusal.value.status == 503


async def test_without_a_provider_there_is_no_such_page(site: Any):
    async with site.client() as client:
        assert (await client.get("/dashboard/login/oidc")).status_code == 404
        assert (await client.get("/dashboard/login/oidc/back")).status_code == 404
        assert "Log in with" not in (await client.get("/dashboard/login")).text


async def log_out(client: httpx.AsyncClient, site: Any) -> httpx.Response:
    """Sign on and log out again; return the answer."""
    assert (await client.get(await leave(client))).status_code == 303
    csrf = site.csrf_of((await client.get("/dashboard/messages")).text)
    answer = await client.post("/dashboard/logout", data={"csrf": csrf})
    assert (
        (await client.get("/dashboard/messages")).headers["location"].startswith("/dashboard/login")
    )
    return answer


async def test_who_logs_out_may_end_the_session_at_the_provider_too(sso: Any, provider: Provider):
    async with sso.client() as client:
        del client.headers["Authorization"]
        answer = await log_out(client, sso)
    assert answer.status_code == 200
    assert "You are logged out here" in answer.text
    assert "Log out of Our &lt;login&gt; too" in answer.text
    found = re.search(r'href="(http[^"]+/leave[^"]+)"', answer.text)
    assert found
    async with httpx.AsyncClient() as outside:
        back = await outside.get(html.unescape(found[1]))
    assert back.headers["location"] == "http://postroad.test/dashboard/login"
    told = provider.left.pop()
    assert (told["client_id"], told["realm"]) == (_CLIENT, "mail")
    claims = jwt.decode(told["id_token_hint"], provider.keys[-1]).claims
    assert claims["email"] == "ann@sign.example"


async def test_provider_is_left_only_where_it_says_how(provider: Provider):
    known = IdentityProvider(provider.issuer, _CLIENT, _SECRET)
    for ends_at in ("", "ftp://127.0.0.1/leave", "javascript:alert(1)", "/leave"):
        provider.ends_at = ends_at
        assert await SingleSignOn(known, time.time).leave("http://x", "hint") is None
    provider.ends_at = f"{provider.issuer}/leave"
    left = await SingleSignOn(known, time.time).leave("http://x/y", "")
    assert left == f"{provider.issuer}/leave?client_id=postroad&post_logout_redirect_uri=http%3A%2F%2Fx%2Fy"  # fmt: skip  # noqa: E501
    away = IdentityProvider("http://127.0.0.1:9", _CLIENT)
    assert await SingleSignOn(away, time.time).leave("http://x", "hint") is None


async def test_who_logged_in_by_password_is_not_sent_to_the_provider(sso: Any):
    async with sso.client() as client:
        del client.headers["Authorization"]
        form = (await client.get("/dashboard/login")).text
        fields = {"csrf": sso.csrf_of(form), "email": "ann@sign.example", "password": "x" * 12}
        assert (await client.post("/dashboard/login", data=fields)).status_code == 303
        csrf = sso.csrf_of((await client.get("/dashboard/messages")).text)
        answer = await client.post("/dashboard/logout", data={"csrf": csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/login")
