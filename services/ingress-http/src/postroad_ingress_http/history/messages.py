"""The messages of an account: found by id, or by what they have in common."""

from collections.abc import Iterable

from postroad_common.mail.identifiers import is_id
from postroad_common.store.bodies import Bodies, BodyGone
from postroad_common.store.messages import MessageRecord, Messages
from postroad_ingress_http.http.errors import ApiError, not_found

MESSAGES_PER_EVENT_SEARCH = 1000


class MessageHistory:
    """Reads messages and their content for one account at a time."""

    def __init__(self, messages: Messages, bodies: Bodies) -> None:
        self._messages = messages
        self._bodies = bodies

    async def find(self, account: str, message_id: str) -> MessageRecord:
        """Return the message of the account.

        Raises:
            ApiError: 404.
        """
        record = await self._messages.get(account, message_id) if is_id(message_id) else None
        if record is None:
            raise not_found("message (a new one appears within a second)")
        return record

    async def read_content(self, account: str, message_id: str) -> bytes:
        """Return the message as it was submitted.

        Raises:
            ApiError: 404, there is no such message, or its content is not kept.
        """
        record = await self.find(account, message_id)
        if record.body is None:
            raise _not_kept()
        try:
            return await self._bodies.get(record.body)
        except BodyGone:
            raise _not_kept() from None

    async def newest_ids(
        self, account: str, recipient: str | None, tags: Iterable[str | None]
    ) -> list[str] | None:
        """Return the newest messages to `recipient` with all `tags`; None without a criterion."""
        wanted = [tag for tag in tags if tag]
        if not recipient and not wanted:
            return None
        found = await self._messages.search(
            account,
            recipient=recipient or None,
            tag=wanted[0] if wanted else None,
            limit=MESSAGES_PER_EVENT_SEARCH,
        )
        return [record.id for record in found if set(wanted) <= set(record.tags)]


def _not_kept() -> ApiError:
    return ApiError(404, "The content of this message is not kept.", code="not_kept")
