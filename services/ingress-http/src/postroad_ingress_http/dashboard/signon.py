"""Logging in by the identity provider of the settings, for users and who is invited."""

import json
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroad_common.store.audit import Actor, act_as
from postroad_common.store.users import User
from postroad_ingress_http.access.identity import (
    ATTEMPT_SECONDS,
    SignedOn,
    SignOnAttempt,
)
from postroad_ingress_http.dashboard.passwords import network_of
from postroad_ingress_http.dashboard.signin import begin_session, inside
from postroad_ingress_http.dashboard.visitor import (
    SecureCookies,
    SessionsOf,
    SignOnOf,
    SignOnPlace,
    address_of,
)
from postroad_ingress_http.dashboard.visits import VisitOf, set_cookie
from postroad_ingress_http.dependencies import UsersOf, UserStore
from postroad_ingress_http.http.errors import ApiError, not_found

router = APIRouter(prefix="/dashboard/login/oidc", include_in_schema=False)
_COOKIE = "postroad_sign_on"
_PATH = "/dashboard/login/oidc"


@router.get("")
async def go(
    request: Request, visit: VisitOf, sign_on: SignOnOf, secure: SecureCookies
) -> Response:
    """Send the visitor to the issuer."""
    if sign_on is None:
        raise not_found("page")
    target = inside(request.query_params.get("next", ""))
    try:
        url, attempt = await sign_on.issuer.begin(_back(request, sign_on.base_url), target)
    except ApiError as error:
        return visit.form("login.html", next=target, email="", error=error)
    answer = RedirectResponse(url, 303)
    sealed = sign_on.sealer.seal(json.dumps(asdict(attempt)))
    set_cookie(answer, _COOKIE, sealed, _PATH, int(ATTEMPT_SECONDS), secure=secure)
    return answer


@router.get("/back")
async def come_back(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    visit: VisitOf,
    sign_on: SignOnOf,
    sessions: SessionsOf,
    users: UserStore,
    administration: UsersOf,
    secure: SecureCookies,
) -> Response:
    """Begin the session of the user whom the issuer vouches for."""
    if sign_on is None:
        raise not_found("page")
    try:
        attempt = _attempt(request, sign_on)
        back = _back(request, sign_on.base_url)
        who = await sign_on.issuer.finish(attempt, back, dict(request.query_params))
        user = await _user(request, who, users, administration)
    except ApiError as error:
        answer = visit.form("login.html", next="", email="", error=error)
        answer.delete_cookie(_COOKIE, path=_PATH)
        return answer
    await users.logged_in(user.email, network_of(address_of(request)))
    begun = await begin_session(
        request, user, sessions, attempt.target, secure=secure, id_token=who.id_token
    )
    begun.delete_cookie(_COOKIE, path=_PATH)
    return begun


def _attempt(request: Request, sign_on: SignOnPlace) -> SignOnAttempt:
    """Return what was kept when the visitor left.

    Raises:
        ApiError: 403, nothing was, or no longer is.
    """
    text = sign_on.sealer.open(request.cookies.get(_COOKIE, ""))
    if text is None:
        raise ApiError(403, "The sign-on was begun too long ago, or elsewhere; try again.")
    return SignOnAttempt(**json.loads(text))


async def _user(request: Request, who: SignedOn, users: UserStore, administration: UsersOf) -> User:
    """Return the user with the address, made now if they are invited or their claims let them in.

    They get the role that the claims give, if these give one.

    Raises:
        ApiError: 403, nobody has invited them.
    """
    user = await users.find(who.email)
    if user is not None and who.role in {"", user.role}:
        return user
    act_as(
        Actor(
            kind="link",
            id=who.email,
            account="" if user is None else user.account,
            address=address_of(request),
            request_id=request.state.request_id,
        )
    )
    if user is None:
        user = await administration.welcome(who.email, who.role, who.account)
    else:
        user = await administration.take_role(user, who.role)
    if user is None:
        raise ApiError(403, f"{who.email} is no user here, and is not invited.")
    return user


def _back(request: Request, base_url: str | None) -> str:
    return f"{base_url or str(request.base_url).rstrip('/')}{_PATH}/back"
