"""Mail that waits for its time (`sendat`): shown, moved and cancelled until it is handed out."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from postroad_common.broker import EventWriter
from postroad_common.errors import Transient
from postroad_common.schemas.events import EventName, happened
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.submission import Submission
from postroad_common.store.bodies import Bodies
from postroad_common.store.messagedirectives import Action
from postroad_common.store.scheduled import Schedule, ScheduledMail
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.http.moments import read_time
from postroad_ingress_http.sending.routing import MAX_AHEAD_SECONDS

KEEP_SECONDS = 7 * 86_400
"""How long a stored body outlives its last attempt: a DSN may still quote it."""
_TRIES = 5  # others may change the same mail at the same time


@dataclass(frozen=True, slots=True)
class Scheduling:
    """What is done with mail that waits. `clock` returns Unix seconds."""

    store: Schedule
    bodies: Bodies
    events: EventWriter
    clock: Callable[[], float]

    async def add(self, submission: Submission, body: bytes) -> None:
        """Let a submission wait until its `send_at`; `body` is empty if it is stored.

        Raises:
            StoreAway: it may not be safe.
        """
        await self.store.add(
            ScheduledMail(
                id=submission.id,
                account=submission.account,
                due=submission.send_at or 0.0,
                state="waiting",
                messages=[recipient.id for recipient in submission.recipients],
                recipients=[recipient.address for recipient in submission.recipients],
                subject=submission.subject[:500],
                created=submission.received,
                version=0,
                frame=encode(submission, body),
            )
        )

    async def find(self, account: str, name: str) -> ScheduledMail:
        """Return what waits, or did lately, by the id of the submission or of a message.

        Raises:
            ApiError: 404.
        """
        found = await self.store.find(account, name)
        if found is None:
            raise not_found("scheduled mail")
        return found

    async def move(self, account: str, name: str, sendat: str, by: str) -> ScheduledMail:
        """Have a submission sent at another time: the whole one, whichever message names it.

        Raises:
            ApiError: 400, it is no time that can be; 404; 409, it does not wait any more.
        """
        now = self.clock()
        due = read_time("sendat", sendat)
        if not now - 60.0 < due <= now + MAX_AHEAD_SECONDS:
            raise bad_field("sendat", "Give a time from now on, at most 30 days ahead.")
        return await self._move(account, name, due, by)

    async def _move(self, account: str, name: str, due: float, by: str) -> ScheduledMail:
        for _ in range(_TRIES):
            found = await self._waiting(account, name)
            submission, body = decode(Submission, found.frame)
            expires = submission.expires + due - found.due
            changed = submission.model_copy(update={"send_at": due, "expires": expires})
            if submission.body is not None:
                await self.bodies.keep_until(submission.body, expires + KEEP_SECONDS)
            moved = replace(found, due=due, frame=encode(changed, body))
            if await self.store.change(moved, self.clock()):
                self._tell(EventName.SCHEDULED, account, found.messages, {"send_at": due, "by": by})
                return moved
        raise _too_late()

    async def cancel(self, account: str, name: str, by: str) -> None:
        """Have a submission not sent; or one of its messages, if that is what is named.

        Raises:
            ApiError: 404; 409, it does not wait any more.
        """
        for _ in range(_TRIES):
            found = await self._waiting(account, name)
            gone = [message for message in found.messages if name in {found.id, message}]
            if await self._drop(found, gone):
                self._tell_cancelled(account, gone, by)
                return
        raise _too_late()

    async def direct(self, account: str, message: str, action: Action, by: str) -> None:
        """Cancel a message that waits for its time, or send its submission now."""
        with contextlib.suppress(ApiError):  # it does not wait here; the sender will do it
            if action is Action.CANCEL:
                await self.cancel(account, message, by)
            else:
                await self._move(account, message, self.clock(), by)

    async def forget(self, account: str, addresses: Sequence[str], by: str) -> None:
        """Cancel all that waits for one of these spellings of an address."""
        wanted = set(addresses)
        for _ in range(_TRIES):
            found = await self.store.waiting_for(account, addresses)
            for mail in found:
                pairs = zip(mail.messages, mail.recipients, strict=True)
                gone = [message for message, recipient in pairs if recipient in wanted]
                if await self._drop(mail, gone):
                    self._tell_cancelled(account, gone, by)
            if not found:
                return

    async def _waiting(self, account: str, name: str) -> ScheduledMail:
        found = await self.find(account, name)
        if not found.is_waiting:
            raise _too_late(found.state)
        return found

    async def _drop(self, mail: ScheduledMail, gone: Sequence[str]) -> bool:
        """Take messages out of a submission, or cancel it; False if somebody was quicker."""
        now = self.clock()
        submission, body = decode(Submission, mail.frame)
        left = tuple(one for one in submission.recipients if one.id not in gone)
        if left:
            smaller = submission.model_copy(update={"recipients": left})
            changed = replace(
                mail,
                messages=[one.id for one in left],
                recipients=[one.address for one in left],
                frame=encode(smaller, body),
            )
            return await self.store.change(changed, now)
        if not await self.store.cancel(mail, now):
            return False
        if submission.body is not None:
            with contextlib.suppress(Transient):  # it is deleted when it expires
                await self.bodies.delete(submission.body)
        return True

    def _tell_cancelled(self, account: str, messages: Sequence[str], by: str) -> None:
        self._tell(EventName.CANCELLED, account, messages, {"by": by, "given": self.clock()})

    def _tell(
        self, name: EventName, account: str, messages: Sequence[str], data: dict[str, object]
    ) -> None:
        now = self.clock()
        for message in messages:
            once = f"{message}.cancelled" if name is EventName.CANCELLED else None
            event = happened(name, message, now, data, account=account, event_id=once)
            with contextlib.suppress(Transient):
                self.events.add(event)


def _too_late(state: str = "leaving") -> ApiError:
    if state == "cancelled":
        return ApiError(409, "This mail is cancelled already.", code="already_cancelled")
    return ApiError(409, "This mail is being sent already.", code="already_sent")
