"""The fields of `POST /v1/send` under their one name each, whatever the client called them.

The service has had three generations of names; all are taken. What the values mean is checked in
`composition` (the built message), `routing` (who gets it, how long) and `mimecheck` (a message
submitted whole).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from postroad_common.mail.control import FEATURE_NAMES
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.fields import Fields

_ALIASES = {
    **FEATURE_NAMES,
    "body": "mime",
    "reply_to": "replyto",
    "keepcontent": "keep_content",
    "testmode": "test",
    "reply-to": "replyto",
    "headers": "extra",
    "from": "sender",
}
_NOT_OFFERED = {
    "patch": "Changes of a template are not offered; store it, or override its fields.",
}
_OUTSIDE_NAMES = {"sender": "from"}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else _counted(value)


def _counted(value: object) -> object:
    """Take an object whose keys count, as PHP writes a list, for a list."""
    if isinstance(value, dict) and all(str(key).isdecimal() for key in value):
        return list(value.values())
    return value


def _as_map(value: object) -> object:
    """Take an empty list, as PHP writes an empty object, for one."""
    return {} if value == [] else value


def _as_recipients(value: object) -> object:
    if isinstance(value, dict):
        if value and all(str(key).isdecimal() for key in value):
            return list(value.values())
        return {key: _as_map(known) for key, known in value.items()}
    return value


def _as_unsubscribe(value: object) -> object:
    """Take addresses and URLs, alone or as a list, for what they are."""
    if isinstance(value, dict) and "http" in value and "url" not in value:
        value = {("url" if key == "http" else key): item for key, item in value.items()}
    ways = [value] if isinstance(value, str) else value
    if not isinstance(ways, list) or not all(isinstance(way, str) for way in ways):
        return value
    found: dict[str, str] = {}
    for way in ways:
        text = way.strip().removeprefix("<").removesuffix(">")
        kind = "url" if text.lower().startswith(("http://", "https://")) else "email"
        found.setdefault(kind, text.removeprefix("mailto:"))
    return found or None


def _as_name(value: object) -> object:
    return str(value) if isinstance(value, int) else value


Texts = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class AttachmentFields(BaseModel):
    """A file: its content in `data`, or the `url` that it is fetched from with the request."""

    model_config = ConfigDict(extra="forbid")

    data: str | None = Field(None, description="The file in base64.")
    name: str | None = Field(
        None, max_length=255, description="The file name shown to readers; else that of the URL."
    )
    type: str | None = Field(
        None, max_length=100, description="Media type; else as its server says, or by its name."
    )
    url: str | None = Field(None, max_length=2048, description="Where the file is fetched.")
    cid: str | None = Field(
        None, max_length=100, description='What the HTML names it by: `<img src="cid:logo">`.'
    )


class UnsubscribeFields(BaseModel):
    """What becomes List-Unsubscribe."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = None
    url: str | None = Field(None, max_length=900)
    oneclick: bool = False


class DsnFields(BaseModel):
    """Delivery status notifications (RFC 3461)."""

    model_config = ConfigDict(extra="forbid")

    notify: Texts | None = Field(None, description="NEVER, or some of SUCCESS, FAILURE, DELAY.")
    ret: str | None = Field(None, description="FULL or HDRS.")
    envid: str | None = Field(None, max_length=100)
    orcpt: str | None = Field(
        None, max_length=500, description="`rfc822;address`, the original recipient of all."
    )


class SendFields(BaseModel):
    """The request. Feature switches left out follow the defaults for REST."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    envelope: str | None = Field(None, description="Sender address; bounces are forwarded to it.")
    recipient: str | None = Field(
        None,
        description="One address. Without it and `recipients` the mail goes to those in `to`, "
        "`cc` and `bcc`.",
    )
    recipients: Annotated[
        list[str] | dict[str, dict[str, Any] | None] | str | None, BeforeValidator(_as_recipients)
    ] = Field(
        None,
        description="Several addresses: a list, or an object whose keys are addresses and whose "
        "values are the data of each.",
    )
    bcc: Texts | None = Field(None, description="More recipients, whom the header does not name.")
    mime: bytes | None = Field(None, description="A complete MIME message. Alias: `body`.")
    sender: str | None = Field(None, alias="from")
    to: Texts | None = None
    cc: Texts | None = None
    replyto: Texts | None = None
    subject: str | None = Field(None, max_length=2000)
    text: str | None = None
    html: str | None = None
    attachments: Annotated[list[AttachmentFields], BeforeValidator(_counted)] | None = Field(
        None, max_length=100
    )
    extra: Annotated[dict[str, str], BeforeValidator(_as_map)] | None = Field(
        None, description="More headers: `x-…`, and those that docs/rest.md lists."
    )
    unsubscribe: Annotated[UnsubscribeFields | None, BeforeValidator(_as_unsubscribe)] = None
    inlinecss: bool | None = Field(None, description="Alias: `inlinizecss`.")
    clicktracking: bool | None = Field(None, description="Alias: `trackclicks`.")
    openstracking: bool | None = Field(None, description="Alias: `trackopens`.")
    bouncetracking: bool | None = Field(None, description="Alias: `trackbounces`.")
    preventscam: bool | None = None
    images: Literal["hosted", "default"] | None = None
    textfromhtml: bool | None = Field(
        None, description="Add a plain-text part, made from the HTML, where there is none."
    )
    list_name: str | None = Field(
        None,
        alias="list",
        max_length=200,
        description="What a recipient unsubscribes from, such as `newsletter`; else the From "
        "address stands for it.",
    )
    listunsubscribe: bool | None = Field(
        None, description="Add a one-click List-Unsubscribe header (RFC 8058), or do not."
    )
    keep_content: bool | None = Field(
        None, description="false: do not keep the content in the archive. Alias: `keepcontent`."
    )
    test: bool | None = Field(
        None, description="true: everything is done but sending it. Alias: `testmode`."
    )
    dsn: Annotated[DsnFields, BeforeValidator(_as_map)] | None = None
    tags: Texts | None = Field(None, description="Words without white space or semicolons.")
    metadata: Annotated[dict[str, str], BeforeValidator(_as_map)] | None = Field(
        None, description="Up to 20 keys and values that come back in events and webhooks."
    )
    maxdelivertime: str | None = Field(None, description="Give-up time, UTC.")
    sendat: str | None = Field(None, description="Do not send before this time, UTC.")
    data: Annotated[dict[str, Any], BeforeValidator(_as_map)] | None = Field(
        None, description="What tags like `{{ name }}` or `{$name}` are filled with."
    )
    template: Annotated[str, BeforeValidator(_as_name)] | None = Field(
        None, max_length=100, description="Id or name of a stored template."
    )
    template_version: int | None = Field(
        None, ge=1, description="The version of the template; without it, the one in use."
    )

    @property
    def octets(self) -> int:
        """About how much there is to read and to encode."""
        files = sum(len(file.data or "") for file in self.attachments or ())
        return len(self.mime or b"") + len(self.html or "") + len(self.text or "") + files


def read_send(fields: Fields) -> SendFields:
    """Return the request in `fields`.

    Raises:
        ApiError: 400 for a field that is not known, not offered, or named in two ways.
        pydantic.ValidationError: a value has the wrong type.
    """
    canonical: Fields = {}
    for given, value in fields.items():
        lowered = given.lower()
        if lowered in _NOT_OFFERED:
            raise bad_field(given, _NOT_OFFERED[lowered], code="not_offered")
        if lowered == "access_token":
            raise bad_field(given, "Give the token in the query string or as Authorization.")
        name = _ALIASES.get(lowered, lowered)
        if name in canonical:
            raise bad_field(given, "This field is given twice, under two of its names.")
        canonical[name] = value
    if isinstance(canonical.get("recipient"), list | dict) and "recipients" not in canonical:
        canonical["recipients"] = canonical.pop("recipient")  # as the original's PHP client has it
    if isinstance(mime := canonical.get("mime"), str):
        canonical["mime"] = mime.encode("utf-8", "surrogateescape")
    return SendFields.model_validate(_rename_back(canonical))


def _rename_back(fields: Mapping[str, object]) -> Fields:
    return {_OUTSIDE_NAMES.get(name, name): value for name, value in fields.items()}


def names_recipients(request: SendFields) -> bool:
    """Whether the request says who gets the mail; else those get it that its header names."""
    return request.recipient is not None or request.recipients is not None


def require_recipient(request: SendFields) -> None:
    """Refuse a request that names no recipient, or names them in two fields.

    Raises:
        ApiError: 400.
    """
    if not (names_recipients(request) or request.to or request.cc or request.bcc):
        raise ApiError(
            400, "Name a `recipient` or `recipients`.", code="missing", field="recipient"
        )
    if request.recipient is not None and request.recipients is not None:
        raise bad_field("recipients", "Give either `recipient` or `recipients`, not both.")
