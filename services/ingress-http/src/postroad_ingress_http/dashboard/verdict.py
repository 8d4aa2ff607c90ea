"""What became of a message, in a sentence and what to do about it: the head of its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from postroad_common.classification.explaining import Explanation
from postroad_common.mail.address import domain_of
from postroad_common.mail.classification import Classification
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.messages import MessageRecord
from postroad_common.store.suppressions import Suppression
from postroad_ingress_http.dashboard import eventwords
from postroad_ingress_http.dashboard.timeline import reason
from postroad_ingress_http.history.explaining import meaning_of_suppression

_SIMPLE = {
    "accepted": ("info", "On its way", "It is being prepared; no server has been asked yet."),
    "transforming": ("info", "On its way", "It is being prepared; no server has been asked yet."),
    "queued": ("info", "On its way", "It waits for its turn to be delivered."),
    "tested": ("warn", "Not sent: this is a test", "All but the delivery itself was done."),
}
_COMPLAINED = (
    "Do not write to this address any more. Providers refuse all mail of senders about whom many "
    "complain: let people unsubscribe with one click."
)
_SUPPRESSED = (
    "Nothing is sent to addresses that have bounced or complained, or that were entered by hand."
)
_LIFT = "If it is to get mail again, lift the suppression; then send the mail again."


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it stands. `kind`: good, info, warn or bad; `quote` is what the other side said.

    `moment` is when that happened (Unix seconds); `cause` is the message that led to it; `help` is
    the page with what has to be mended.
    """

    kind: str
    title: str
    text: str = ""
    advice: str = ""
    quote: str = ""
    moment: float | None = None
    cause: str = ""
    help: str = ""


def judge(
    record: MessageRecord,
    told: Sequence[Event],
    explained: Mapping[str, Explanation],
    suppression: Suppression | None,
) -> Verdict:
    """Return how the message stands; `told` are its events, oldest first."""
    newest = {event.event: event for event in told}
    match record.state:
        case "delivered":
            return _delivered(record, newest)
        case "bounced":
            return _refused(
                "Came back after it was taken", record, newest.get(EventName.BOUNCED), explained
            )
        case "failed" | "expired":
            return _failed(record, newest.get(EventName.FAILED), explained)
        case "deferred":
            return _deferred(newest.get(EventName.DEFERRED), explained)
        case "suppressed":
            return _suppressed(record, newest.get(EventName.SUPPRESSED), suppression)
        case "cancelled":
            event = newest.get(EventName.CANCELLED)
            by = event.facts.get("by") if event else ""
            text = f"By {by}." if by else ""
            return Verdict("warn", "Cancelled: not sent", text, moment=_moment(event))
    kind, title, text = _SIMPLE.get(record.state, ("info", record.state.capitalize(), ""))
    return Verdict(kind, title, text)


def _delivered(record: MessageRecord, newest: Mapping[EventName, Event]) -> Verdict:
    event = newest.get(EventName.DELIVERED)
    facts = event.facts if event else {}
    by = f"{facts['host']} took it" if facts.get("host") else "It was taken"
    tries = record.attempts
    text = f"{by} on the {eventwords.ordinal(tries)} attempt" if tries > 1 else by
    reactions = [
        f"{verb} {'once' if number == 1 else f'{number:,} times'}"
        for verb, number in (("opened", record.opens), ("clicked", record.clicks))
        if number
    ]
    text += f"; {' and '.join(reactions)}." if reactions else "."
    if EventName.COMPLAINED in newest:
        moment = newest[EventName.COMPLAINED].time
        title = "Delivered, and complained about"
        return Verdict("bad", title, "The recipient called it spam.", _COMPLAINED, moment=moment)
    title = "Delivered"
    if EventName.UNSUBSCRIBED in newest:
        title = "Delivered, and the recipient has unsubscribed"
    return Verdict("good", title, text, moment=_moment(event))


def _failed(
    record: MessageRecord, event: Event | None, explained: Mapping[str, Explanation]
) -> Verdict:
    if event is not None and event.facts.get("expired"):
        times = "1 attempt" if record.attempts == 1 else f"{record.attempts:,} attempts"
        return _refused(f"Not delivered: time is over, after {times}", record, event, explained)
    return _refused("Not delivered", record, event, explained)


def _refused(
    title: str, record: MessageRecord, event: Event | None, explained: Mapping[str, Explanation]
) -> Verdict:
    if event is None:
        return Verdict("bad", title)
    said = Verdict("bad", title, quote=reason(event), moment=event.time)
    why = explained.get(event.id)
    if why is None:
        return said
    domain = domain_of(record.sender)
    is_of_domain = why.classification is Classification.AUTH_FAILURE and domain
    page = f"/dashboard/domains/{quote(domain, safe='')}" if is_of_domain else ""
    return replace(said, text=why.meaning, advice=why.advice, help=page)


def _deferred(event: Event | None, explained: Mapping[str, Explanation]) -> Verdict:
    if event is None:
        return Verdict("warn", "Not delivered yet")
    if why := explained.get(event.id):
        return Verdict(
            "warn", "Not delivered yet", why.meaning, why.advice, reason(event), event.time
        )
    requeue = str(event.facts.get("requeue") or RequeueReason.NOT_DUE)
    text = f"It waits because {eventwords.waits_because(requeue)}."
    return Verdict("warn", "Not delivered yet", text, "", reason(event), event.time)


def _suppressed(
    record: MessageRecord, event: Event | None, suppression: Suppression | None
) -> Verdict:
    title = "Not sent: the address is suppressed"
    advice = _LIFT
    if suppression is None:
        title, advice = "Not sent: the address was suppressed", "It is not any more: send it again."
    cause = suppression.message if suppression else None
    given = reason(event) if event else ""
    return Verdict(
        "bad",
        title,
        meaning_of_suppression(given) or _SUPPRESSED,
        advice,
        given,
        _moment(event),
        cause or "" if cause != record.id else "",
    )


def _moment(event: Event | None) -> float | None:
    return event.time if event else None
