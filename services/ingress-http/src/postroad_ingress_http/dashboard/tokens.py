"""REST tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.secrets import hash_token, new_token
from postroad_ingress_http.access.rights import read_domains, read_networks
from postroad_ingress_http.access.scopes import (
    EVERYTHING,
    NOUNS,
    OPERATOR,
    OPERATOR_NOUNS,
    check_scopes,
    covers,
)
from postroad_ingress_http.dashboard.forms import see_other, text, texts_of, words
from postroad_ingress_http.dashboard.times import read_local, zone_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AccountsOf, AuthenticatorOf, ClockOf, TokenStore
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

router = APIRouter(prefix="/dashboard/tokens", include_in_schema=False)
_NAME_LENGTH = 100
_MEANINGS: Mapping[str, str] = {
    "send": "Hand in mail, and send kept mail again.",
    "messages": "Find messages with their content, events and numbers.",
    "credentials": "SMTP logins, with their features.",
    "tokens": "REST tokens: this one may make others, with no more scopes than its own.",
    "suppressions": "Addresses that get no mail.",
    "addresses": "Show and erase all that is stored of one address.",
    "webhooks": "URLs that are called for events.",
    "domains": "Sender domains: DNS records and DKIM keys.",
    "templates": "Stored mails with places to fill.",
    "users": "Users of the dashboard, and their roles.",
    "audit": "Who changed what.",
    "account": "The account itself: its name and limits.",
    "accounts": "All accounts of the installation.",
    "lanes": "Delivery lanes, which hold mail of every account.",
    "queues": "Queues of the broker, and dead letters.",
    "metrics": "The numbers for Prometheus.",
}
_WHOLE: Mapping[str, str] = {
    EVERYTHING: "Everything in this account",
    OPERATOR: "Everything that concerns the installation",
}


@dataclass(frozen=True, slots=True)
class OfferedScope:
    """A noun of the API as the form offers it: what it is about, and what may be chosen."""

    noun: str
    meaning: str
    choices: tuple[tuple[str, str], ...]


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, tokens: TokenStore) -> Response:
    """List the tokens of the account."""
    found = await tokens.list(session.account)
    whole = {scope: label for scope, label in _WHOLE.items() if covers(session.scopes, (scope,))}
    return pages.answer("tokens.html", rows=found, nouns=_offered(session.scopes), whole=whole)


@router.post("")
async def create(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    tokens: TokenStore,
    accounts: AccountsOf,
    clock: ClockOf,
) -> Response:
    """Create a token, which may do no more than the user, and show its secret."""
    scopes = check_scopes([scope for scope in texts_of(fields, "scopes") if scope])
    if not covers(session.scopes, scopes):
        raise ApiError(403, "Your role does not allow to hand out these scopes.", field="scopes")
    expires = read_local("expires", text(fields, "expires"), zone_of(request.cookies))
    if expires is not None and expires <= clock():
        raise bad_field("expires", "This time is past.")
    await accounts.check_room(session.account, "tokens")
    secret = new_token()
    await tokens.create(
        account=session.account,
        name=text(fields, "name").strip()[:_NAME_LENGTH],
        scopes=scopes,
        secret_hash=hash_token(secret),
        sender_domains=read_domains("sender_domains", words(fields, "sender_domains")),
        networks=read_networks("networks", words(fields, "networks")),
        expires=expires,
        test=fields.get("test") == "true",
    )
    return pages.secret("Token created", "/dashboard/tokens", token=secret)


@router.post("/{token_id}/delete")
async def delete(
    token_id: str,
    session: SignedIn,
    _: Form,
    tokens: TokenStore,
    authenticator: AuthenticatorOf,
) -> Response:
    """Revoke a token."""
    if not await tokens.delete(session.account, token_id):
        raise not_found("token")
    authenticator.forget(token_id)
    return see_other("/dashboard/tokens", "The token is revoked.")


def _offered(held: Iterable[str]) -> list[OfferedScope]:
    """Return the scopes that somebody with the scopes `held` may hand out."""
    scopes = tuple(held)
    offered = []
    for noun in (*NOUNS, *OPERATOR_NOUNS):
        ways = [(f"{noun}:read", "look"), (noun, "look and change")]
        if noun == "send":
            ways = [(noun, "send")]
        choices = tuple((scope, label) for scope, label in ways if covers(scopes, (scope,)))
        if choices:
            offered.append(OfferedScope(noun, _MEANINGS[noun], choices))
    return offered
