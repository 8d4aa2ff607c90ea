"""What a job does with one message: each act, and how it ends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from postroad_common.mail.identifiers import derived_id, id_time
from postroad_common.schemas.submission import Client
from postroad_common.store.jobs import BulkJob, Marker
from postroad_common.store.messagedirectives import Action
from postroad_common.store.messages import MessageRecord
from postroad_common.store.suppressions import Addressed, Suppression, Suppressions
from postroad_ingress_http.history.directives import MessageDirection
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.sending.accept import Acceptance
from postroad_ingress_http.sending.resend import resend
from postroad_ingress_http.sending.submission import RequestOrigin

_SKIPPED = frozenset({"not_kept", "conflict", "not_waiting", "cancelled"})
"""What is said of messages with which nothing can be done."""
_LATER = {"limit_reached": 600.0, "account_suspended": 600.0, "too_many_directives": 600.0}
"""What is said of the account: seconds until it is tried again."""


class Later(Exception):  # noqa: N818 - it is no error
    """The job waits: `seconds`, and for people why."""

    def __init__(self, note: str, seconds: float) -> None:
        super().__init__(note)
        self.note = note
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Act:
    """An act as it is offered: its name, what its button and its page say, the scope it needs."""

    name: str
    label: str
    told: str
    scope: str
    danger: bool = False


ACTS: Mapping[str, Act] = {
    act.name: act
    for act in (
        Act(
            "retry",
            "Try now",
            "Messages that wait are tried at once, those that do not wait any more are skipped. "
            "Lanes keep to their limits.",
            "messages",
        ),
        Act(
            "cancel",
            "Cancel",
            "Messages that wait are not sent any more. Those that do not wait are skipped, and so "
            "is a message that is under way in this moment.",
            "messages",
            danger=True,
        ),
        Act(
            "resend",
            "Send again",
            "Each mail is submitted again as it was submitted, to the same recipient. Mail whose "
            "content is not kept, and recipients that are suppressed, are skipped.",
            "send",
        ),
        Act(
            "suppress",
            "Suppress addresses",
            "Nothing is sent to the recipients any more, until that is lifted.",
            "suppressions",
            danger=True,
        ),
        Act(
            "lift",
            "Lift suppressions",
            "Mail to the recipients is sent again from now on. Who has complained stays "
            "suppressed: lift that on the page of one of their messages.",
            "suppressions",
        ),
        Act(
            "lift-and-resend",
            "Lift suppressions and send again",
            "The suppressions of the recipients are lifted, and each mail is submitted again. Who "
            "has complained stays suppressed, and mail whose content is not kept is skipped.",
            "send",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class JobActs:
    """Does what jobs ask for. `clock` returns Unix seconds."""

    history: MessageHistory
    acceptance: Acceptance
    direction: MessageDirection
    suppressions: Suppressions
    clock: Callable[[], float]

    async def do(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        """Return the marker with how the act on the message ended.

        Raises:
            Later: the account may not do it now.
            Transient: something it needs is away.
        """
        doing: Mapping[str, Callable[[BulkJob, MessageRecord, Marker], Awaitable[Marker]]] = {
            "retry": self._direct,
            "cancel": self._direct,
            "resend": self._resend,
            "suppress": self._suppress,
            "lift": self._lift,
            "lift-and-resend": self._lift_and_resend,
        }
        try:
            return await doing[job.act](job, record, marker)
        except ApiError as refusal:
            if seconds := _LATER.get(refusal.code):
                raise Later(refusal.message, seconds) from None
            if refusal.code in _SKIPPED:
                return _skipped(marker, refusal.code, refusal.message)
            return replace(
                marker, ending="failed", code=_plain(refusal.code), reason=refusal.message
            )

    async def _held(self, record: MessageRecord) -> Suppression | None:
        addressed = Addressed(record.account, record.recipient.lower(), record.list)
        return (await self.suppressions.find_many([addressed])).get(addressed)

    async def _direct(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        await self.direction.direct(record.account, record.id, Action(job.act), job.actor.id)
        return replace(marker, ending="done")

    async def _resend(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        if await self._held(record) is not None:
            return _skipped(marker, "suppressed", "The recipient is suppressed.")
        return await self._submit(job, record, marker)

    async def _submit(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        archived, raw = await self.history.read_submission(record)
        origin = RequestOrigin(
            record.account,
            job.actor.id,
            Client(ip=job.actor.address, protocol="HTTP"),
            job.sender_domains,
            test=job.test,
        )
        began = id_time(marker.made)

        def identify(part: str) -> str:
            return marker.made if part else derived_id(began, "job", job.id, record.id)

        await resend(record, archived, raw, origin, self.acceptance, identify=identify)
        return replace(marker, ending="done")

    async def _suppress(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        if record.recipient == "erased":
            return _skipped(marker, "conflict", "The address is not known any more.")
        if await self._held(record) is not None:
            return _skipped(marker, "suppressed", "The recipient was suppressed already.")
        entry = Suppression(
            account=record.account,
            address=record.recipient,
            reason=f"suppressed by {job.actor.id}",
            kind="manual",
            created=self.clock(),
            expires=None,
            message=record.id,
        )
        await self.suppressions.add([entry])
        return replace(marker, ending="done")

    async def _lift(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:  # noqa: ARG002 - as the others
        held = await self._held(record)
        if held is None:
            return _skipped(marker, "not_suppressed", "The recipient is not suppressed.")
        if refused := _kept(held, marker):
            return refused
        await self.suppressions.remove(record.account, record.recipient.lower())
        return replace(marker, ending="done")

    async def _lift_and_resend(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        held = await self._held(record)
        if held is not None:
            if refused := _kept(held, marker):
                return refused
            await self.history.read_submission(record)  # lift nothing if there is nothing to send
            await self.suppressions.remove(record.account, record.recipient.lower())
        return await self._submit(job, record, marker)


def _kept(held: Suppression, marker: Marker) -> Marker | None:
    """Return how it ends where the suppression is none that a job lifts."""
    if held.kind == "complaint":
        return _skipped(marker, "complained", "The recipient has complained.")
    if held.address.startswith("@"):
        return _skipped(marker, "domain", "The whole domain of the recipient is suppressed.")
    return None


def _skipped(marker: Marker, code: str, reason: str) -> Marker:
    return replace(marker, ending="skipped", code=code, reason=reason)


def _plain(code: str | None) -> str:
    return code or "refused"
