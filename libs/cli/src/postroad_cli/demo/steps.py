"""The demo, step by step. Each tick is a fact that was looked at, and each wait has an end."""

import time
from dataclasses import dataclass

from postroad_cli.demo import mails, reader, returned
from postroad_cli.demo.failure import DemoFailedError
from postroad_cli.demo.received import Changes, compare
from postroad_cli.demo.screen import Screen
from postroad_cli.demo.submission import SubmissionReply, submit
from postroad_sink.client import SinkClient, SinkMessage
from postroad_stack.document import StackDocument
from postroad_stack.rest import Json, RestClient

_ARRIVE = 60.0
_SHOW = 60.0
_POLL = 0.05


@dataclass(frozen=True)
class _Sent:
    """A mail of the demo after it arrived: what was said, and the copy in the sink."""

    mail: mails.DemoMail
    accepted: SubmissionReply
    row: SinkMessage
    raw: bytes


class Demo:
    """The life of two mails through a running stack.

    Args:
        document: the stack.
        screen: where it is shown.
    """

    def __init__(self, document: StackDocument, screen: Screen) -> None:
        if not (document.http and document.token and document.sink and document.tracker):
            raise DemoFailedError("the demo needs a whole stack, with its sink")
        self._document = document
        self._tracker = document.tracker
        self._screen = screen
        self._api = RestClient(document.http, document.token)
        self._sink = SinkClient(document.sink.http)

    def run(self) -> list[str]:
        """Run every step; return the ids of the messages.

        Raises:
            DemoFailedError: a step did not happen.
        """
        with self._sink:
            first = self._read_mail()
            second = self._returned_mail()
        return [first, second]

    def _read_mail(self) -> str:
        mail = mails.parcel_mail(mails.READER, "Your parcel is on its way")
        self._screen.chapter(f"“{mail.subject}”", f"{mail.envelope} → {mail.recipient}")
        sent = self._send(mail, show_changes=True)
        changes = self._changes(sent)
        message = sent.accepted.message
        with self._screen.step("opened", "waiting for the event of the fetched images") as step:
            reader.follow(changes.images, "image")
            step.fact(f"a reader fetched {len(changes.images)} images: each 302 to its exact URL")
            step.elapsed = self._event(message, "opened", "tracker", "feedback")
        with self._screen.step("clicked", "waiting for the event of the followed links") as step:
            reader.follow(changes.clicks, "link")
            step.fact(f"and followed {len(changes.clicks)} links: each 302 to its exact URL")
            step.elapsed = self._event(message, "clicked", "tracker", "feedback")
        return message

    def _returned_mail(self) -> str:
        mail = mails.parcel_mail(mails.nobody(), "Your parcel is on its way, too")
        self._screen.chapter(f"“{mail.subject}”", f"{mail.envelope} → {mail.recipient}")
        sent = self._send(mail, show_changes=False)
        message = sent.accepted.message
        before = self._sink.last_number()
        listener = self._document.mx
        if listener is None:
            raise DemoFailedError("this stack has no MX listener")
        with self._screen.step("bounced", "waiting for the state `bounced`") as step:
            reply = returned.send_bounce(listener, sent.row.envelope, mail.recipient, sent.raw)
            step.fact(f"its server returned it: {returned.DIAGNOSTIC}")
            step.fact(f"the MX listener took the report: {reply}")
            step.elapsed = self._event(message, "bounced", "bounce-processor", "feedback")
            self._state(message, "bounced")
        with self._screen.step("forwarded", "waiting for the report to the sender") as step:
            rows = self._sink.wait(recipient=mail.envelope, since=before, limit=_ARRIVE)
            if not rows or returned.STATUS.encode() not in self._sink.raw(rows[0].number):
                raise DemoFailedError(
                    f"no report reached {mail.envelope} within {_ARRIVE:.0f} s",
                    "bounce-processor",
                    "sender",
                )
            step.fact(f"the report went on to {mail.envelope}, status {returned.STATUS} in it")
        return message

    def _send(self, mail: mails.DemoMail, *, show_changes: bool) -> _Sent:
        before = self._sink.last_number()
        with self._screen.step("accepted", "SMTP submission with STARTTLS and AUTH") as step:
            accepted = submit(self._document, mail)
            step.fact(f"{accepted.reply}  ({accepted.tls}, AUTH)")
        with self._screen.step("transformed", "waiting for the copy in the sink") as step:
            rows = self._sink.wait(recipient=mail.recipient, since=before, limit=_ARRIVE)
            if not rows:
                raise DemoFailedError(
                    f"the mail did not reach the sink within {_ARRIVE:.0f} s",
                    "transformer",
                    "sender",
                )
            row = rows[0]
            sent = _Sent(mail, accepted, row, self._sink.raw(row.number))
            changes = self._changes(sent)
            if show_changes:
                step.facts += _describe(changes)
            else:
                step.fact(f"envelope replaced: {changes.envelope}")
            step.elapsed = self._event(accepted.message, "transformed", "transformer", "feedback")
        with self._screen.step("delivered", "waiting for the state `delivered`") as step:
            step.elapsed = self._event(accepted.message, "delivered", "sender", "feedback")
            entry = self._state(accepted.message, "delivered")
            step.fact(f"the receiving server said: {entry.get('reply', '')}")
        return sent

    def _changes(self, sent: _Sent) -> Changes:
        return compare(sent.mail, sent.raw, sent.row.envelope, self._tracker)

    def _event(self, message: str, event: str, *logs: str) -> float:
        """Wait for an event in the timeline; return its time after acceptance, in seconds."""
        deadline = time.monotonic() + _SHOW
        while True:
            found = self._api.message(message)
            times = _first_times(found) if found else {}
            if event in times and "accepted" in times:
                return max(0.0, times[event] - times["accepted"])
            if time.monotonic() > deadline:
                seen = ", ".join(times) or "nothing"
                raise DemoFailedError(
                    f"no `{event}` in the timeline of {message} within {_SHOW:.0f} s "
                    f"(there is: {seen})",
                    *logs,
                )
            time.sleep(_POLL)

    def _state(self, message: str, state: str) -> Json:
        """Wait for a state; return the event in the timeline that led to it."""
        deadline = time.monotonic() + _SHOW
        while True:
            found = self._api.message(message) or {}
            if found.get("state") == state:
                entries = [entry for entry in found["timeline"] if entry["event"] == state]
                return dict(entries[-1]) if entries else {}
            if time.monotonic() > deadline:
                raise DemoFailedError(
                    f"the state of {message} is {found.get('state')}, not {state}", "feedback"
                )
            time.sleep(_POLL)


def _first_times(message: Json) -> dict[str, float]:
    times: dict[str, float] = {}
    for entry in message.get("timeline", []):
        times.setdefault(entry["event"], float(entry["time"]))
    return times


def _describe(changes: Changes) -> list[str]:
    return [
        f"CSS inlined into {changes.styled} elements, the @media rule kept",
        f"{len(changes.clicks)} links and {len(changes.images)} images tracked",
        f"left alone: {changes.untouched[0]}, whose text is its own URL",
        f"envelope replaced: {changes.envelope}",
    ]
