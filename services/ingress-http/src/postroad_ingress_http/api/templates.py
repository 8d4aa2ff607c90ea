"""`/v1/templates`: stored mails with tags, in versions."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.store.templates import MailTemplate
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.api.originaltemplates import MOST, OriginalTemplate, part_of_list
from postroad_ingress_http.dependencies import PersonaliserOf, TemplatesOf
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.sending.request import Texts, UnsubscribeFields
from postroad_ingress_http.sending.templates import StoredTemplate

router = APIRouter(prefix="/v1/templates", tags=["templates"], responses=REFUSALS)
Reader = Annotated[Token, needs("templates:read")]
Writer = Annotated[Token, needs("templates")]
_UNREADABLE = refusals(422)
_POSITION = re.compile(r"[0-9]{1,3}")


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("control characters and line breaks are not allowed")
    return name


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]


class ContentFields(BaseModel):
    """What a template says: the fields of a mail that it gives, with tags to fill."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    sender: str | None = Field(None, alias="from", max_length=2000)
    to: Texts | None = None
    cc: Texts | None = None
    replyto: Texts | None = None
    subject: str | None = Field(None, max_length=2000)
    text: str | None = None
    html: str | None = None
    mime: str | None = Field(None, description="A complete MIME message, instead of the others.")
    extra: dict[str, str] | None = Field(None, description="More headers; names start with x-.")
    unsubscribe: UnsubscribeFields | None = None


class TemplateFields(ContentFields):
    """A template to create."""

    name: Name


class TemplateChanges(ContentFields):
    """A new version of a template, which says what is in here and nothing else."""

    name: Name | None = None


class TemplateView(BaseModel):
    """A template: its id and name, the version in use, and when both were made (Unix seconds)."""

    id: str
    name: str
    version: int
    created: float
    changed: float


class TemplateWithContent(TemplateView):
    """A template with what one of its versions says."""

    content: ContentFields


class VersionView(BaseModel):
    """A version of a template."""

    version: int
    created: float


class FillFields(BaseModel):
    """What to fill a template with."""

    model_config = ConfigDict(extra="forbid")

    data: dict[str, Any] = {}
    version: int | None = Field(None, ge=1)
    recipient: str = Field("recipient@example.com", max_length=254)
    envelope: str = Field("", max_length=254)


def view(template: MailTemplate) -> TemplateView:
    """Return the template without what it says."""
    return TemplateView(
        id=template.id,
        name=template.name,
        version=template.version.number,
        created=template.created,
        changed=template.version.created,
    )


def _full(stored: StoredTemplate) -> TemplateWithContent:
    shown = view(stored.template).model_dump()
    shown["version"] = stored.version.number
    return TemplateWithContent(**shown, content=ContentFields.model_validate(stored.content))


def _content(fields: ContentFields) -> dict[str, Any]:
    """Return what the template says.

    Raises:
        ApiError: 400, it says nothing, or a whole message beside its parts.
    """
    said = fields.model_dump(exclude_none=True, exclude={"name"})
    if not {"mime", "text", "html"} & said.keys():
        raise ApiError(400, "Give `html`, `text` or `mime`.", code="missing", field="html")
    if "mime" in said and len(said) > 1:
        (other, *_) = (name for name in said if name != "mime")
        other = "from" if other == "sender" else other
        raise bad_field(other, "A template with `mime` is a whole message; it has this already.")
    return said


@router.post("", status_code=201, summary="Create a template", responses=_UNREADABLE)
async def create(
    token: Writer,
    fields: Annotated[TemplateFields, body(TemplateFields)],
    templates: TemplatesOf,
    response: Response,
) -> TemplateView:
    """Check that its tags can be read, and make it version 1."""
    made = await templates.create(token.account, fields.name, _content(fields))
    response.headers["Location"] = f"/v1/templates/{made.template.id}"
    return view(made.template)


@router.get("", summary="List templates")
async def listing(
    token: Reader,
    templates: TemplatesOf,
    limit: PageSize = DEFAULT_PAGE,
    cursor: Cursor = None,
) -> Page[TemplateView]:
    """By name."""
    position = read_cursor(cursor, str)
    after = str(position[0]) if position else ""
    found = await templates.list(token.account, after, limit + 1)
    items = [view(item) for item in found[:limit]]
    more = write_cursor(items[-1].name) if len(found) > limit else None
    return Page(items=items, cursor=more)


@router.get("/{template}", summary="One template")
async def one(
    template: str, token: Reader, templates: TemplatesOf
) -> TemplateWithContent | list[OriginalTemplate]:
    """By its id or name, with what its version in use says.

    A number that names no template lists those behind so many, as the original service does.
    """
    try:
        return _full(await templates.read(token.account, template))
    except ApiError:
        if not _POSITION.fullmatch(template):
            raise
        return await part_of_list(token.account, int(template), MOST, templates)


@router.put("/{template}", summary="Make a new version", responses=_UNREADABLE)
async def change(
    template: str,
    token: Writer,
    fields: Annotated[TemplateChanges, body(TemplateChanges)],
    templates: TemplatesOf,
) -> TemplateView:
    """Mails that are sent from now on use it; versions before it can still be read and used."""
    changed = await templates.change(token.account, template, fields.name, _content(fields))
    return view(changed.template)


@router.delete("/{template}", status_code=204, summary="Delete a template")
async def delete(template: str, token: Writer, templates: TemplatesOf) -> None:
    """Delete all its versions. Mails that were accepted are sent."""
    await templates.delete(token.account, template)


@router.get("/{template}/versions", summary="List the versions")
async def versions(template: str, token: Reader, templates: TemplatesOf) -> Page[VersionView]:
    """Return the latest first."""
    found = await templates.find(token.account, template)
    return Page(
        items=[
            VersionView(version=one.number, created=one.created) for one in reversed(found.versions)
        ]
    )


@router.get("/{template}/versions/{number}", summary="One version")
async def version(
    template: str, number: int, token: Reader, templates: TemplatesOf
) -> TemplateWithContent:
    """Return what it says."""
    return _full(await templates.read(token.account, template, number))


@router.post("/{template}/fill", summary="Fill a template", responses=_UNREADABLE)
async def fill(
    template: str,
    token: Reader,
    fields: Annotated[FillFields, body(FillFields)],
    templates: TemplatesOf,
    personaliser: PersonaliserOf,
) -> ContentFields:
    """Return what a recipient with this data would get; nothing is sent."""
    stored = await templates.read(token.account, template, fields.version)
    known: Mapping[str, Any] = {
        "recipient": fields.recipient,
        "envelope": fields.envelope,
        **fields.data,
    }
    return ContentFields.model_validate(await personaliser.preview(token.account, stored, known))
