"""`POST /v1/preview`: what would be sent, with every change and its reason."""

import base64
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from postroad_common.schemas.features import Features
from postroad_ingress_http.api.access import body
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.api.archive import FileView, file_views
from postroad_ingress_http.api.send import Sender, origin_of
from postroad_ingress_http.dependencies import PreviewsOf
from postroad_ingress_http.previews.preview import Preview, preview
from postroad_ingress_http.previews.warnings import Severity
from postroad_ingress_http.sending.request import SendFields, read_send

router = APIRouter(tags=["send"], responses=REFUSALS)


class HeaderView(BaseModel):
    """A header field, its value decoded."""

    name: str
    value: str


class ChangeView(BaseModel):
    """One thing that was done to the mail or left alone, and why.

    `before` and `after` are a URL, the name or the value of a header, or an address.
    """

    model_config = ConfigDict(from_attributes=True)

    kind: str
    reason: str
    before: str
    after: str
    count: int


class WarningView(BaseModel):
    """Something worth a look; an `error` would keep the mail from being sent."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    message: str
    severity: Severity
    field: str | None


class PreviewView(BaseModel):
    """The mail as its first recipient would get it.

    `raw` is all of it, without the DKIM signatures that the keys in `signatures` would add; it is
    in base64 where the mail is not UTF-8. `size` is in octets.
    """

    recipient: str
    envelope: str
    subject: str
    size: int
    headers: list[HeaderView]
    text: str | None
    html: str | None
    attachments: list[FileView]
    embeds: list[FileView]
    raw: str
    raw_encoding: Literal["utf-8", "base64"]
    features: Features
    list_name: str = Field(alias="list")
    signatures: list[str]
    changes: list[ChangeView]
    warnings: list[WarningView]


@router.post(
    "/v1/preview",
    summary="Preview a message",
    responses=refusals(422, 504),
)
async def show(
    request: Request,
    token: Sender,
    mail: Annotated[SendFields, body(SendFields, read_send)],
    previews: PreviewsOf,
) -> PreviewView:
    """Take the fields of `POST /v1/send` and return what would be sent; nothing is sent or kept.

    The mail is made by the code that makes mail to be sent. Its tracked links and bounce address
    do not work.
    """
    return await _view(await preview(mail, origin_of(request, token), previews))


async def _view(made: Preview) -> PreviewView:
    content = made.content
    try:
        raw, encoding = content.raw.decode(), "utf-8"
    except UnicodeDecodeError:
        raw, encoding = base64.b64encode(content.raw).decode(), "base64"
    return PreviewView.model_validate(
        {
            "recipient": made.recipient,
            "envelope": made.answer.envelope,
            "subject": made.submission.subject,
            "size": len(content.raw),
            "headers": [{"name": name, "value": value} for name, value in content.headers],
            "text": content.text,
            "html": content.html,
            "attachments": await file_views(content.attachments),
            "embeds": await file_views(content.embeds),
            "raw": raw,
            "raw_encoding": encoding,
            "features": made.submission.features,
            "list": made.answer.list,
            "signatures": list(made.answer.signatures),
            "changes": [ChangeView.model_validate(change) for change in made.changes],
            "warnings": [WarningView.model_validate(warning) for warning in made.warnings],
        }
    )
