"""The messages of an account: found by id, or by what they have in common, and their content."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from postroad_common.mail.identifiers import is_id
from postroad_common.schemas.archive import ArchivedMail
from postroad_common.store.archive import Archive, NotKept
from postroad_common.store.messages import Criteria, MessageRecord, Messages
from postroad_ingress_http.history.content import MailContent
from postroad_ingress_http.http.errors import ApiError, not_found

MESSAGES_PER_EVENT_SEARCH = 1000
EVENT_SEARCH_SECONDS = 2.0
"""For which the messages are looked for whose events are searched."""
Version = Literal["sent", "submitted"]


@dataclass(frozen=True, slots=True)
class MessageSource:
    """A message whole, and which version of it this is."""

    raw: bytes
    version: Version


class MessageHistory:
    """Reads messages and their content for one account at a time; `clock` gives Unix seconds."""

    def __init__(self, messages: Messages, archive: Archive, clock: Callable[[], float]) -> None:
        self._messages = messages
        self._archive = archive
        self._clock = clock

    async def find(self, account: str, message_id: str) -> MessageRecord:
        """Return the message of the account.

        Raises:
            ApiError: 404.
        """
        record = await self._messages.get(account, message_id) if is_id(message_id) else None
        if record is None:
            raise not_found("message (a new one appears within a second)")
        return record

    async def kept_until(self, record: MessageRecord) -> float | None:
        """Return until when (Unix seconds) the content is kept; None where it is not."""
        return await self._archive.expiry(record.account, record.submission)

    async def kept(self, account: str, records: Iterable[MessageRecord]) -> set[str]:
        """Return the submissions of these messages whose content is kept."""
        return await self._archive.kept(account, {record.submission for record in records})

    async def read_source(
        self, record: MessageRecord, version: Version | None = None
    ) -> MessageSource:
        """Return the message as it was sent or submitted.

        Without a wish it is the version that was sent; of a message that was not sent, the other.

        Raises:
            ApiError: 404, its content is not kept, or there is no such version.
        """
        where = record.account, record.submission
        now = self._clock()
        try:
            if version == "submitted":
                return MessageSource(await self._archive.submitted(*where, now), "submitted")
            return MessageSource(await self._archive.sent(*where, record.id, now), "sent")
        except NotKept:
            if version is None:
                return await self.read_source(record, "submitted")
            raise _not_kept() from None

    async def read_content(
        self, record: MessageRecord, version: Version | None = None
    ) -> tuple[MailContent, Version]:
        """Return the message taken apart, and which version it is; see `read_source`.

        Raises:
            ApiError: 404.
        """
        source = await self.read_source(record, version)
        return await asyncio.to_thread(MailContent, source.raw), source.version

    async def read_submission(self, record: MessageRecord) -> tuple[ArchivedMail, bytes]:
        """Return what is needed to send a message again: its settings, and its octets.

        Raises:
            ApiError: 404, its content is not kept.
        """
        try:
            return await self._archive.submission(record.account, record.submission, self._clock())
        except NotKept:
            raise _not_kept() from None

    async def newest_ids(
        self,
        account: str,
        recipient: str | None,
        tags: Iterable[str | None],
        *,
        seconds: float = EVENT_SEARCH_SECONDS,
    ) -> list[str] | None:
        """Return the newest messages to `recipient` with all `tags`; None without a criterion.

        As many as are found in about `seconds`, and no more than `MESSAGES_PER_EVENT_SEARCH`.
        """
        wanted = [tag for tag in tags if tag]
        if not recipient and not wanted:
            return None
        criteria = Criteria(recipient=recipient or None, tag=wanted[0] if wanted else None)
        end = time.monotonic() + seconds
        found: list[MessageRecord] = []
        position: str | None = None
        while left := MESSAGES_PER_EVENT_SEARCH - len(found):
            look = await self._messages.look(account, criteria, before=position, limit=left)
            found += look.records
            position = look.position
            if position is None or time.monotonic() >= end:
                break
        return [record.id for record in found if set(wanted) <= set(record.tags)]


def _not_kept() -> ApiError:
    return ApiError(
        404,
        "This content is not kept, not any more, or not yet (it is a second or so after sending).",
        code="not_kept",
    )
