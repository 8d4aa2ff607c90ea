"""A mail as it would be sent, made by the transformer, which is asked over RabbitMQ.

It counts nothing and keeps nothing. What would keep the mail from being sent is a warning here:
a mail that is refused is shown all the same.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from postroad_common.broker.questions import Asker, NoAnswer
from postroad_common.broker.topology import PREVIEWS
from postroad_common.mail.control import header_end
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.preview import MailChange, PreviewAnswer
from postroad_common.schemas.submission import Submission
from postroad_common.store.suppressions import Addressed, Suppressions
from postroad_ingress_http.history.content import MailContent
from postroad_ingress_http.http.errors import ApiError, unavailable
from postroad_ingress_http.previews.warnings import MailWarning, warn
from postroad_ingress_http.sending.accept import Acceptance, prepare_mail
from postroad_ingress_http.sending.permissions import check_account, check_sender
from postroad_ingress_http.sending.request import SendFields
from postroad_ingress_http.sending.submission import Prepared, RequestOrigin

MAX_MESSAGE = 5 * 1024 * 1024  # octets
PATIENCE = 10.0  # seconds
AT_ONCE = 8
OF_ONE_ACCOUNT = 4
_CONTROL = re.compile(rb"^(x-(?:smtpeter|postroad)-[!-9;-~]+)[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent to the (first) recipient, why it looks so, and what to look at."""

    recipient: str
    submission: Submission
    answer: PreviewAnswer
    content: MailContent
    changes: list[MailChange]
    warnings: list[MailWarning]


class PreviewPlaces:
    """How many previews are made at once, in all and of one account."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def take(self, account: str) -> AsyncIterator[None]:
        """Hold a place.

        Raises:
            ApiError: 429, the account has as many as it may; 503, there are none.
        """
        mine = self._taken.get(account, 0)
        if mine >= OF_ONE_ACCOUNT:
            raise ApiError(
                429, "Too many previews at once; wait for one to end.", headers={"Retry-After": "1"}
            )
        if sum(self._taken.values()) >= AT_ONCE:
            raise unavailable("Too many previews are being made; try again soon.")
        self._taken[account] = mine + 1
        try:
            yield
        finally:
            self._taken[account] -= 1
            if not self._taken[account]:
                del self._taken[account]


@dataclass(frozen=True, slots=True)
class Previews:
    """What making a preview needs."""

    acceptance: Acceptance
    asker: Asker
    suppressions: Suppressions
    places: PreviewPlaces
    patience: float = PATIENCE


async def preview(fields: SendFields, origin: RequestOrigin, needs: Previews) -> Preview:
    """Return how the mail would be sent to its first recipient.

    Raises:
        ApiError: what is wrong with the fields, as when sending; 413, it is too large to be shown;
            429, 503, 504, it cannot be made now.
        BrokerAway, StoreAway: it cannot be made now.
    """
    acceptance = needs.acceptance
    mails = await acceptance.personaliser.mails(fields, origin.account, only_first=True)
    async with (
        acceptance.files.of_request(origin.account) as files,
        files.filled(mails) as (mail,),
    ):
        now = acceptance.clock()
        prepared = await prepare_mail(mail, origin, acceptance.rules, now, lambda _: new_id(now))
    if len(prepared.message) > MAX_MESSAGE:
        raise ApiError(413, f"A mail of more than {MAX_MESSAGE} bytes cannot be previewed.")
    async with needs.places.take(origin.account):
        answer, raw = await _ask(prepared, needs)
        content = await asyncio.to_thread(MailContent, raw)
        warnings = await asyncio.to_thread(warn, content, answer)
    recipient = prepared.submission.recipients[0].address
    return Preview(
        recipient,
        prepared.submission,
        answer,
        content,
        [*_controls(mail.fields.mime), *answer.changes],
        [*await _refusals(prepared, origin, answer, needs), *warnings],
    )


async def _ask(prepared: Prepared, needs: Previews) -> tuple[PreviewAnswer, bytes]:
    """Return what the transformer makes of the mail.

    Raises:
        ApiError: 413, it is too large; 504, no transformer answers.
        BrokerAway: nobody can be asked.
    """
    question = encode(prepared.submission, prepared.message)
    try:
        frame = await needs.asker.ask(PREVIEWS, question, needs.patience)
    except NoAnswer:
        raise ApiError(
            504, f"No transformer has answered within {needs.patience:g} seconds; try again.",
            code="no_answer", headers={"Retry-After": "5"},
        ) from None  # fmt: skip
    answer, raw = decode(PreviewAnswer, frame)
    if answer.refused:
        raise ApiError(413, f"There is no preview: {answer.refused}.")
    return answer, bytes(raw)


async def _refusals(
    prepared: Prepared, origin: RequestOrigin, answer: PreviewAnswer, needs: Previews
) -> list[MailWarning]:
    """Return what would keep the mail from being sent."""
    rights = await needs.acceptance.sending.of(origin.account)
    found = []
    for check in (
        partial(check_account, rights, 1),
        partial(check_sender, rights, origin, prepared),
    ):
        try:
            check()
        except ApiError as error:
            found.append(MailWarning(error.code, error.message, "error", error.field))
    address = prepared.submission.recipients[0].address.lower()
    addressed = Addressed(origin.account, address, answer.list)
    suppression = (await needs.suppressions.find_many([addressed])).get(addressed)
    if suppression is not None:
        message = f"The recipient gets no mail ({suppression.kind}): {suppression.reason}"
        found.append(MailWarning("suppressed", message, "error", "recipient"))
    return found


def _controls(mime: bytes | None) -> list[MailChange]:
    """Return the control headers, which ingress-http itself has taken out."""
    names = _CONTROL.findall(mime[: header_end(mime)]) if mime else ()
    reason = "It tells Postroad what to do and is no part of the mail."
    return [
        MailChange(kind="header_removed", reason=reason, before=name.decode("ascii"))
        for name in names
    ]
