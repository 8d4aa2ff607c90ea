"""From one request with a template or with data to one mail for each recipient."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from postroad_common.mail.address import AddressError, Mailbox
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.sending import routing
from postroad_ingress_http.sending.fieldtexts import FieldTexts
from postroad_ingress_http.sending.request import SendFields
from postroad_ingress_http.sending.routing import Addressee
from postroad_ingress_http.sending.submission import Mail
from postroad_ingress_http.sending.templates import StoredTemplate, TemplateLibrary, refusal
from postroad_ingress_http.templating.problems import TemplateError
from postroad_ingress_http.templating.renderer import Renderer

CONTENT_FIELDS = (
    "mime", "sender", "to", "cc", "replyto", "subject", "text", "html", "extra", "unsubscribe",
)  # fmt: skip
"""What a template may say."""
_BUILT = tuple(name for name in CONTENT_FIELDS if name != "mime")
_YIELD_EVERY = 20  # mails after which other requests have their turn


class Personaliser:
    """Fills the tags of mails with what is known of each recipient."""

    def __init__(self, library: TemplateLibrary, renderer: Renderer, max_recipients: int) -> None:
        self._library = library
        self._renderer = renderer
        self._max_recipients = max_recipients

    async def mails(
        self, request: SendFields, account: str, *, only_first: bool = False
    ) -> list[Mail]:
        """Return the mails of the request, each with the recipients that get the same.

        With `only_first` it is the one mail to the first recipient.

        A request that names no template and gives no data is the one mail, as it came.

        Raises:
            ApiError: 400 with the field that is wrong; 422, a template cannot be read or filled.
            NoWorkerError: nobody can fill it now.
        """
        recipients = routing.read_recipients(request, self._max_recipients)
        if only_first:
            del recipients[1:]
        stored = None
        if request.template is not None:
            stored = await self._template(request, account, request.template)
            request = _with_template(request, stored)
            request = request.model_copy(update={"template": stored.template.id})
        elif request.template_version is not None:
            raise bad_field("template_version", "Name the `template` as well.")
        if stored is None and not _has_data(request):
            return [_to_all(request, recipients)]
        return await self._fill(request, recipients, account, stored)

    async def preview(
        self, account: str, stored: StoredTemplate, known: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the template says, filled with what is `known` of one recipient.

        Raises:
            ApiError: 422, it cannot be filled.
            NoWorkerError: nobody can fill it now.
        """
        return await self.fill(account, stored.content, known, stored.template.name)

    async def fill(
        self,
        account: str,
        content: Mapping[str, Any],
        known: Mapping[str, Any],
        name: str | None = None,
    ) -> dict[str, Any]:
        """Return `content`, what the template of this name would say, filled.

        Raises:
            ApiError: 422, it cannot be filled.
            NoWorkerError: nobody can fill it now.
        """
        texts = FieldTexts(content)
        try:
            (filled,) = await self._renderer.fill(account, texts.sources, [known])
            return texts.fill(filled)
        except TemplateError as error:
            raise refusal(error, name) from None
        except AddressError as error:
            raise _wrong_address(str(known["recipient"]), error) from None

    async def _template(self, request: SendFields, account: str, name: str) -> StoredTemplate:
        try:
            return await self._library.read(account, name, request.template_version)
        except ApiError as error:
            if error.status != 404:
                raise
            raise bad_field("template", error.message, code="not_found") from None

    async def _fill(
        self,
        request: SendFields,
        recipients: Sequence[Addressee],
        account: str,
        stored: StoredTemplate | None,
    ) -> list[Mail]:
        texts = FieldTexts({name: getattr(request, name) for name in CONTENT_FIELDS})
        if not texts.sources:
            return [_to_all(request, recipients)]
        data = [
            {
                "recipient": recipient.mailbox.text,
                "envelope": request.envelope or "",
                **(request.data or {}),
                **recipient.data,
            }
            for recipient in recipients
        ]
        addresses = [recipient.mailbox.text for recipient in recipients]
        try:
            filled = await self._renderer.fill(account, texts.sources, data)
        except TemplateError as error:
            name = stored.template.name if stored else None
            raise refusal(error, name, addresses) from None
        mails = []
        for number, (recipient, values) in enumerate(zip(recipients, filled, strict=True)):
            mails.append(_mail(request, recipient.mailbox, texts, values))
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return mails


def _to_all(request: SendFields, recipients: Sequence[Addressee]) -> Mail:
    return Mail(request, [recipient.mailbox for recipient in recipients])


def _has_data(request: SendFields) -> bool:
    return request.data is not None or (
        isinstance(request.recipients, dict)
        and any(value is not None for value in request.recipients.values())
    )


def _with_template(request: SendFields, stored: StoredTemplate) -> SendFields:
    """Return the request with what the template says where the request itself says nothing.

    Raises:
        ApiError: 400, the request says what the template's whole message would hide.
    """
    content = stored.content
    if request.mime is not None:
        raise bad_field("mime", "Give either a `template` or a message, not both.")
    if content.get("mime"):
        for name in _BUILT:
            if getattr(request, name) is not None:
                outside = "from" if name == "sender" else name
                raise bad_field(outside, "This template is a whole message; it has this already.")
    said = SendFields.model_validate(
        {("from" if name == "sender" else name): content.get(name) for name in CONTENT_FIELDS}
    )
    return request.model_copy(
        update={
            name: value
            for name in CONTENT_FIELDS
            if getattr(request, name) is None and (value := getattr(said, name)) is not None
        }
    )


def _mail(
    request: SendFields, recipient: Mailbox, texts: FieldTexts, values: Sequence[str]
) -> Mail:
    try:
        fields = texts.fill(values)
    except AddressError as error:
        raise _wrong_address(recipient.text, error) from None
    return Mail(request.model_copy(update=fields), (recipient,))


def _wrong_address(recipient: str, error: AddressError) -> ApiError:
    return ApiError(
        422, f"An address field of the message becomes wrong for {recipient}: {error}.",
        code="template_value", field="mime",
    )  # fmt: skip
