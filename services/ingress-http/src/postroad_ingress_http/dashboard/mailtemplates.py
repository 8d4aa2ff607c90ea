"""Stored templates: listed, written and compared; a preview is in `templatepreview`."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.schemas.submission import Client
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.dashboard.forms import see_other, text, told_at
from postroad_ingress_http.dashboard.templatechanges import compare
from postroad_ingress_http.dashboard.visitor import (
    Form,
    Pages,
    PagesOf,
    SignedIn,
    address_of,
)
from postroad_ingress_http.dependencies import AcceptanceOf, TemplatesOf
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.fields import Fields
from postroad_ingress_http.http.paging import read_cursor, write_cursor
from postroad_ingress_http.sending.accept import accept
from postroad_ingress_http.sending.request import SendFields
from postroad_ingress_http.sending.submission import RequestOrigin
from postroad_ingress_http.sending.templates import StoredTemplate

router = APIRouter(prefix="/dashboard/templates", include_in_schema=False)
_LIST = "/dashboard/templates"
_PAGE = 50
_NAME_LENGTH = 100
_FIELDS = {"from": "sender", "replyto": "replyto", "subject": "subject"}
"""The one-line fields of the form, and what a template calls them."""
_TEXTS = ("html", "text", "mime")
_NAMES = re.compile(r"\{\{-?\s{0,9}([A-Za-z_]\w{0,40})|\{\$([A-Za-z_]\w{0,40})")
_KNOWN = frozenset({"recipient", "envelope", "loop"})
_STARTED = "<p>Dear {{ name }},</p>\n<p></p>\n"


async def _version(request: Request) -> int | None:
    number = request.query_params.get("version", "")
    if not number:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        raise bad_field("version", "Give the number of a version.")
    return int(number)


VersionOf = Annotated[int | None, Depends(_version)]


@router.get("")
async def listing(
    request: Request, session: SignedIn, pages: PagesOf, templates: TemplatesOf
) -> Response:
    """List the templates of the account, by name."""
    position = read_cursor(request.query_params.get("cursor"), str)
    after = position[0] if position else ""
    found = await templates.list(session.account, after, _PAGE + 1)
    return pages.answer(
        "templates.html",
        rows=found[:_PAGE],
        cursor=write_cursor(found[_PAGE - 1].name) if len(found) > _PAGE else None,
    )


@router.get("/new")
async def empty(_: SignedIn, pages: PagesOf) -> Response:
    """Show the editor for a new template."""
    return _editor(pages, None, {"html": _STARTED})


@router.post("")
async def create(session: SignedIn, fields: Form, templates: TemplatesOf) -> Response:
    """Keep a new template, whose tags can be read."""
    made = await templates.create(session.account, _name(fields), content_in(fields, {}))
    return see_other(f"{_LIST}/{made.template.id}", "The template is kept.")


@router.get("/{template}")
async def one(
    template: str, session: SignedIn, pages: PagesOf, templates: TemplatesOf, version: VersionOf
) -> Response:
    """Show the editor with a version of a template, and the list of its versions."""
    stored = await templates.read(session.account, template, version)
    return _editor(pages, stored, stored.content)


@router.post("/{template}")
async def save(template: str, session: SignedIn, fields: Form, templates: TemplatesOf) -> Response:
    """Make what the form says the version in use."""
    stored = await templates.read(session.account, template)
    if text(fields, "base") != str(stored.version.number):
        raise ApiError(
            409,
            f"Version {stored.version.number} was saved meanwhile. Open the template anew in "
            "another window, compare, and bring your changes in there.",
        )
    content = content_in(fields, stored.content)
    changed = await templates.change(session.account, stored.template.id, _name(fields), content)
    notice = f"Saved. Mails from now on use version {changed.version.number}."
    return see_other(f"{_LIST}/{changed.template.id}", notice)


@router.get("/{template}/changes")
async def changes(
    template: str, session: SignedIn, pages: PagesOf, templates: TemplatesOf, version: VersionOf
) -> Response:
    """Show what one version changed of that before it."""
    new = await templates.read(session.account, template, version)
    numbers = [one.number for one in new.template.versions if one.number < new.version.number]
    old = await templates.read(session.account, template, numbers[-1]) if numbers else None
    parts = await asyncio.to_thread(compare, old.content if old else {}, new.content)
    return pages.answer("template_changes.html", old=old, new=new, parts_changed=parts)


@router.post("/{template}/send")
async def send_test_mail(  # noqa: PLR0917 - FastAPI passes them by name
    template: str,
    request: Request,
    session: SignedIn,
    fields: Form,
    acceptance: AcceptanceOf,
    templates: TemplatesOf,
) -> Response:
    """Send what a version makes of some data to one address."""
    require(session.scopes, "send", f"Your role ({session.role})")
    stored = await templates.read(session.account, template)
    sender = None if stored.content.get("mime") else text(fields, "sender").strip() or None
    with told_at("recipient"):
        recipient = read_address(text(fields, "recipient"))
    mail = SendFields(
        recipient=recipient,
        sender=sender,
        template=stored.template.id,
        template_version=stored.version.number,
        data=read_data(fields),
        tags=["test-mail"],
    )
    client = Client(ip=address_of(request), protocol="HTTP")
    accepted = await accept(
        mail, RequestOrigin(session.account, session.email, client), None, acceptance
    )
    (message_id,) = accepted.answer
    return see_other(f"/dashboard/messages/{message_id}", "The test mail is on its way.")


@router.post("/{template}/delete")
async def delete(template: str, session: SignedIn, _: Form, templates: TemplatesOf) -> Response:
    """Delete a template with all its versions."""
    await templates.delete(session.account, template)
    return see_other(_LIST, "The template is deleted.")


def content_in(fields: Fields, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form says a template says; what has no field there stays as it was `kept`.

    Raises:
        ApiError: 400, it says nothing.
    """
    shown = {*_FIELDS.values(), *_TEXTS}
    content = {name: value for name, value in kept.items() if name not in shown}
    for outside, name in _FIELDS.items():
        if value := text(fields, outside).strip():
            content[name] = [value] if name == "replyto" else value
    for name in _TEXTS:
        value = text(fields, name).replace("\r\n", "\n")
        if value.strip():
            content[name] = value
    if "mime" in content:
        return {"mime": content["mime"]}
    if not {"html", "text"} & content.keys():
        raise bad_field("html", "Give HTML or text.")
    return content


def read_data(fields: Fields) -> dict[str, Any]:
    """Return the data in the form.

    Raises:
        ApiError: 400, it is no JSON object; the line and column of the fault are told.
    """
    try:
        data = json.loads(text(fields, "data").strip() or "{}")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_field("data", f"The data is no JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise bad_field("data", "The data is too deep.") from None
    if not isinstance(data, dict):
        raise bad_field("data", 'Give an object, such as {"name": "Ann"}.')
    return data


def sample_data(content: Mapping[str, Any]) -> str:
    """Return data to begin with: each name that the texts seem to use, with itself as its value."""
    texts = "\n".join(value for value in content.values() if isinstance(value, str))
    names = dict.fromkeys(first or second for first, second in _NAMES.findall(texts))
    wanted = {name: name for name in names if name not in _KNOWN}
    return json.dumps(wanted, indent=2, ensure_ascii=False)


def _name(fields: Fields) -> str:
    name = text(fields, "name").strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        raise bad_field("name", f"Give a name of 1 to {_NAME_LENGTH} characters.")
    return name


def _editor(pages: Pages, stored: StoredTemplate | None, content: Mapping[str, Any]) -> Response:
    replyto = content.get("replyto") or []
    return pages.answer(
        "template.html",
        mail_template=stored.template if stored else None,
        version=stored.version if stored else None,
        values={
            "from": content.get("sender") or "",
            "subject": content.get("subject") or "",
            "replyto": ", ".join([replyto] if isinstance(replyto, str) else replyto),
            **{name: content.get(name) or "" for name in _TEXTS},
        },
        data=sample_data(content),
    )
