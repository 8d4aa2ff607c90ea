"""From the fields of a request to a `Submission` with its message: the domain of `POST /v1/send`.

Pure; handing it over to the broker is in `injector`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from postroad_common.mail.address import Mailbox
from postroad_common.mail.control import (
    ControlError,
    header_end,
    parse_list,
    parse_tags,
    read_controls,
)
from postroad_common.mail.messageid import message_id_hash
from postroad_common.mail.senders import first_sender
from postroad_common.schemas.features import REST_DEFAULTS, Features
from postroad_common.schemas.submission import Client, Recipient, Submission
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.sending import routing
from postroad_ingress_http.sending.composition import compose, refuse_built_fields
from postroad_ingress_http.sending.mimebuild import build
from postroad_ingress_http.sending.mimecheck import normalise, subject_of
from postroad_ingress_http.sending.request import SendFields

Identify = Callable[[str], str]
"""Makes the identifier of a part of the request: `""` for the whole, else a recipient."""

MAX_METADATA = 20
MAX_METADATA_VALUE = 500  # characters
_METADATA_KEY = re.compile(r"[\w-]{1,40}", re.ASCII)
_FEATURES = tuple(Features.model_fields)


class Mail(NamedTuple):
    """One mail as it is to be made, and those who get it."""

    fields: SendFields
    recipients: Sequence[Mailbox]


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Where a request came from: the account, the token's id, and the client."""

    account: str
    credential: str
    client: Client
    sender_domains: tuple[str, ...] = ()
    """Domains that the token may send from; none: any."""
    traceparent: str = ""
    test: bool = False
    """Whether the token only tests: what it hands in is not sent."""


@dataclass(frozen=True, slots=True)
class SubmissionRules:
    """What the operator set. Sizes in octets, times in seconds."""

    hostname: str
    max_message_size: int
    deliver_seconds: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission that is ready to be injected, and its message."""

    submission: Submission
    message: bytes
    whole: bool = False
    """Whether the client gave the message whole, as MIME."""

    def answer(self) -> dict[str, str]:
        """Return what the client gets: each message id and its recipient."""
        return {recipient.id: recipient.address for recipient in self.submission.recipients}


def prepare(
    mail: Mail, origin: RequestOrigin, rules: SubmissionRules, now: float, identify: Identify
) -> Prepared:
    """Return the submission that `mail` asks for at the time `now` (Unix seconds).

    Raises:
        ApiError: 400 with the field that is wrong, 413 for a message that is too large.
    """
    request, mailboxes = mail
    identifier = identify("")
    envelope = routing.read_envelope(request.envelope)
    send_at, expires = routing.read_schedule(request, now, rules.deliver_seconds)
    notify = routing.read_notify(request.dsn)
    orcpt = routing.read_orcpt(request.dsn)
    tags = _tags(request)
    message = _message(request, identifier, rules, now)
    try:
        controls = read_controls(message)
    except ControlError as error:
        raise bad_field(error.header, f"{error}.", code="control_header") from None
    message = controls.stripped
    everyone = [*mailboxes, envelope] if envelope else mailboxes
    ascii_only = message.isascii()
    submission = Submission(
        id=identifier,
        account=origin.account,
        credential=origin.credential,
        source="rest",
        received=now,
        envelope=envelope.text if envelope else "",
        recipients=tuple(
            Recipient(id=identify(mailbox.text), address=mailbox.text, notify=notify, orcpt=orcpt)
            for mailbox in mailboxes
        ),
        ret=routing.read_ret(request.dsn),
        envid=routing.read_envid(request.dsn),
        # Raw UTF-8 in the headers of a message submitted whole is passed on as it came, as every
        # server does; a header we built ourselves has it only for an internationalised address.
        smtputf8=any(mailbox.needs_smtputf8 for mailbox in everyone)
        or (request.mime is None and not message[: header_end(message)].isascii()),
        eightbit=not ascii_only,
        features=REST_DEFAULTS.overridden(_asked(request)).overridden(controls.features),
        tags=_merge_tags(tags, controls.tags),
        images_hosted=_images(request, controls.images_hosted),
        text_from_html=bool(_first(controls.text_from_html, request.textfromhtml)),
        list=_list(request, controls.list),
        sender=first_sender(message),
        message_id_hash=message_id_hash(message),
        list_unsubscribe=_first(controls.list_unsubscribe, request.listunsubscribe),
        keep_content=_first(controls.keep_content, request.keep_content) is not False,
        test=origin.test or controls.test or bool(request.test),
        expires=expires,
        send_at=send_at,
        client=origin.client,
        subject=subject_of(message),
        metadata=_metadata(request),
        template=request.template or "",
        traceparent=controls.traceparent or origin.traceparent,
        size=len(message),
    )
    return Prepared(submission, message, whole=request.mime is not None)


def _message(request: SendFields, identifier: str, rules: SubmissionRules, now: float) -> bytes:
    if request.mime is not None:
        refuse_built_fields(request)
        if len(request.mime) > rules.max_message_size:
            raise _too_large(rules.max_message_size)
        message = normalise(request.mime)
    else:
        mail = compose(request)
        message = build(mail, message_id=f"{identifier}@{rules.hostname}", now=now)
    if len(message) > rules.max_message_size:
        raise _too_large(rules.max_message_size)
    return message


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The message is larger than {limit} bytes, the most taken here.")


def _asked(request: SendFields) -> Mapping[str, bool]:
    values = {name: getattr(request, name) for name in _FEATURES}
    return {name: value for name, value in values.items() if value is not None}


def _list(request: SendFields, header: str | None) -> str:
    if header is not None:
        return header
    try:
        return parse_list("list", request.list_name or "")
    except ControlError as error:
        raise bad_field("list", f"{error}.".removeprefix("list: ")) from None


def _tags(request: SendFields) -> tuple[str, ...]:
    try:
        return parse_tags("tags", [part for tag in request.tags or () for part in tag.split(",")])
    except ControlError as error:
        raise bad_field("tags", f"{error}.".removeprefix("tags: ")) from None


def _metadata(request: SendFields) -> dict[str, str]:
    given = request.metadata or {}
    if len(given) > MAX_METADATA:
        raise bad_field("metadata", f"At most {MAX_METADATA} keys.")
    for key, value in given.items():
        if not _METADATA_KEY.fullmatch(key):
            raise bad_field("metadata", "A key is 1 to 40 letters, digits, hyphens, underscores.")
        if len(value) > MAX_METADATA_VALUE:
            raise bad_field(f"metadata.{key}", f"At most {MAX_METADATA_VALUE} characters.")
    return given


def _merge_tags(fields: tuple[str, ...], headers: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return parse_tags("tags", [*fields, *headers])
    except ControlError as error:
        raise bad_field("tags", f"{error}.".removeprefix("tags: ")) from None


def _first(header: bool | None, field: bool | None) -> bool | None:  # noqa: FBT001 - three states
    return header if header is not None else field


def _images(request: SendFields, header: bool | None) -> bool:  # noqa: FBT001 - three states
    return header if header is not None else request.images == "hosted"
