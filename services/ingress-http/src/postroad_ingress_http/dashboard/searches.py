"""Searches that a user has given names."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.store.searches import MOST
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.searching import page_of, search_in
from postroad_ingress_http.dashboard.visitor import Form, SignedIn
from postroad_ingress_http.dependencies import SearchStore
from postroad_ingress_http.history.search import read_criteria
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

router = APIRouter(prefix="/dashboard/searches", include_in_schema=False)
_NAME_LENGTH = 60


@router.post("")
async def save(session: SignedIn, fields: Form, searches: SearchStore) -> Response:
    """Give a search a name."""
    name = text(fields, "name").strip()[:_NAME_LENGTH]
    search = search_in(fields)
    if not name or not name.isprintable():
        raise bad_field("name", "Give the search a name.")
    if not search:
        raise ApiError(400, "This search asks for nothing; fill in a field first.")
    read_criteria(search, whole_days=True)
    if not await searches.save(session.account, session.email, name, search):
        raise ApiError(409, f"You have {MOST} saved searches; remove one first.")
    return see_other(page_of(search), f"The search {name} is saved.")


@router.post("/{search_id}/delete")
async def remove(search_id: str, session: SignedIn, _: Form, searches: SearchStore) -> Response:
    """Forget a search."""
    if not await searches.delete(session.account, session.email, search_id):
        raise not_found("saved search")
    return see_other("/dashboard/messages", "The saved search is removed.")
