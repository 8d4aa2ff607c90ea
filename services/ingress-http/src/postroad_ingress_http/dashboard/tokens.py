"""REST tokens."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.secrets import hash_token, new_token
from postroad_ingress_http.access.rights import read_domains, read_networks
from postroad_ingress_http.access.scopes import (
    EVERYTHING,
    NOUNS,
    OPERATOR,
    check_scopes,
    covers,
)
from postroad_ingress_http.dashboard.forms import see_other, text, texts_of, words
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AccountsOf, AuthenticatorOf, ClockOf, TokenStore
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.http.moments import read_moment

router = APIRouter(prefix="/dashboard/tokens", include_in_schema=False)
_NAME_LENGTH = 100


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, tokens: TokenStore) -> Response:
    """List the tokens of the account."""
    found = await tokens.list(session.account)
    offered = [noun for noun in (*NOUNS, EVERYTHING, OPERATOR) if covers(session.scopes, (noun,))]
    return pages.answer("tokens.html", rows=found, scopes=offered)


@router.post("")
async def create(  # noqa: PLR0917 - FastAPI passes them by name
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    tokens: TokenStore,
    accounts: AccountsOf,
    clock: ClockOf,
) -> Response:
    """Create a token, which may do no more than the user, and show its secret."""
    scopes = check_scopes(texts_of(fields, "scopes"))
    if not covers(session.scopes, scopes):
        raise ApiError(403, "Your role does not allow to hand out these scopes.", field="scopes")
    expires = read_moment("expires", text(fields, "expires"))
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
    return see_other("/dashboard/tokens")
