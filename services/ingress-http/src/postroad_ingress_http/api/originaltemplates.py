"""`/v1/template`, `/v1/templates/{start}/{length}`: templates as the original shows them."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.responses import PlainTextResponse, Response

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import TemplatesOf
from postroad_ingress_http.http.errors import ApiError, not_found
from postroad_ingress_http.sending.templates import TemplateLibrary

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Templates = Annotated[Token, needs("templates:read")]
MOST = 1000


class _NumberConvertor(IntegerConvertor):
    """A number in a path, of no more digits than Python reads."""

    regex = "[0-9]{1,9}"


register_url_convertor("number", _NumberConvertor())


class OriginalTemplate(BaseModel):
    """A template."""

    id: str
    name: str


@router.get("/templates/{start:number}/{length:number}", summary="Templates, a part of the list")
async def templates(
    start: int, length: int, token: Templates, library: TemplatesOf
) -> list[OriginalTemplate]:
    """By name, `length` of them behind the first `start`."""
    if not (0 <= start <= MOST and 0 <= length <= MOST):
        raise ApiError(400, f"Give numbers from 0 to {MOST}.")
    return await part_of_list(token.account, start, length, library)


async def part_of_list(
    account: str, start: int, length: int, library: TemplateLibrary
) -> list[OriginalTemplate]:
    """Return `length` templates behind the first `start`, by name."""
    found = await library.list(account, "", start + length)
    return [OriginalTemplate(id=one.id, name=one.name) for one in found[start:]]


@router.get("/template/{template}", summary="A template as JSON")
async def template(template: str, token: Templates, library: TemplatesOf) -> dict[str, Any]:
    """Return what it says."""
    stored = await library.read(token.account, template)
    said = {("from" if name == "sender" else name): it for name, it in stored.content.items()}
    return {"id": stored.template.id, "name": stored.template.name, **said}


@router.get(
    "/template/{template}/{form}", summary="A part of a template", response_class=PlainTextResponse
)
async def template_part(
    template: str, form: str, token: Templates, library: TemplatesOf
) -> Response:
    """Return its `html`, `text` or `mime`, with its tags."""
    stored = await library.read(token.account, template)
    if form not in {"html", "text", "mime"} or not stored.content.get(form):
        raise not_found("part of this template")
    return PlainTextResponse(stored.content[form])
