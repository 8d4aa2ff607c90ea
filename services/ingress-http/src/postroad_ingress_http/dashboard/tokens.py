"""REST tokens."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.secrets import hash_token, new_token
from postroad_ingress_http.access.scopes import EVERYTHING, NOUNS, check_scopes
from postroad_ingress_http.dashboard.forms import see_other, text, texts_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AuthenticatorOf, TokenStore
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/dashboard/tokens", include_in_schema=False)
_NAME_LENGTH = 100


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, tokens: TokenStore) -> Response:
    """List the tokens of the account."""
    found = await tokens.list(session.account)
    return pages.answer("tokens.html", rows=found, scopes=[*NOUNS, EVERYTHING])


@router.post("")
async def create(session: SignedIn, fields: Form, pages: PagesOf, tokens: TokenStore) -> Response:
    """Create a token and show its secret."""
    secret = new_token()
    await tokens.create(
        account=session.account,
        name=text(fields, "name").strip()[:_NAME_LENGTH],
        scopes=check_scopes(texts_of(fields, "scopes")),
        secret_hash=hash_token(secret),
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
