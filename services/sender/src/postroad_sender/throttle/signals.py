"""Signals: what a reply, or the fault instead of one, says about the lane it came from.

The rules are data (`signals.toml`). A full mailbox or greylisting says nothing about the speed
that a server likes; a rate or policy deferral does.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources

from postroad_common.mail.classification import Classification
from postroad_common.mail.reply import Reply
from postroad_smtp.client.stage import Fault, Stage

MAX_STATED_DELAY = 3600.0  # seconds
_TEXT_LIMIT = 1000  # characters of a reply that rules look at


class Signal(StrEnum):
    """What was understood."""

    NONE = "none"  # nothing that concerns the lane
    REFUSED = "refused"  # connection refused, or no way to the host
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    CONNECTIONS = "connections"  # told that there are too many
    BUSY = "busy"  # 421 and other faults of the server itself
    RATE = "rate"
    POLICY = "policy"
    REPUTATION = "reputation"
    GREYLIST = "greylist"
    MAILBOX = "mailbox"
    RECIPIENT = "recipient"
    RECIPIENTS = "recipients"  # too many for one transaction
    PARAMETERS = "parameters"  # refused though it was offered; mail goes without it
    OTHER = "other"

    @property
    def slows(self) -> bool:
        """Whether the lane's speed may have to do with it."""
        return self in _SLOWING


_SLOWING = frozenset(
    {
        Signal.REFUSED,
        Signal.TIMEOUT,
        Signal.DROPPED,
        Signal.CONNECTIONS,
        Signal.BUSY,
        Signal.RATE,
        Signal.POLICY,
        Signal.REPUTATION,
    }
)

CLASSIFICATIONS = {
    Signal.NONE: Classification.UNDETERMINED,
    Signal.REFUSED: Classification.CONNECTION,
    Signal.TIMEOUT: Classification.CONNECTION,
    Signal.DROPPED: Classification.CONNECTION,
    Signal.CONNECTIONS: Classification.RATE_LIMIT,
    Signal.BUSY: Classification.SERVER_ERROR,
    Signal.RATE: Classification.RATE_LIMIT,
    Signal.POLICY: Classification.POLICY,
    Signal.REPUTATION: Classification.REPUTATION,
    Signal.GREYLIST: Classification.GREYLISTED,
    Signal.MAILBOX: Classification.MAILBOX_FULL,
    Signal.RECIPIENT: Classification.UNAVAILABLE,
    Signal.RECIPIENTS: Classification.PROTOCOL,
    Signal.PARAMETERS: Classification.PROTOCOL,
    Signal.OTHER: Classification.UNDETERMINED,
}
"""What is told of a deferral; a signal is what the lane learns from the same reply."""

_OF_FAULT = {
    Fault.REFUSED: Signal.REFUSED,
    Fault.UNREACHABLE: Signal.REFUSED,
    Fault.TIMEOUT: Signal.TIMEOUT,
    Fault.DROPPED: Signal.DROPPED,
}


@dataclass(frozen=True, slots=True)
class SignalRule:
    """One rule: all conditions that are there must hold."""

    signal: Signal
    codes: frozenset[int]
    enhanced: tuple[str, ...]
    stages: frozenset[Stage]
    text: re.Pattern[str] | None

    def fits(self, reply: Reply, stage: Stage, text: str) -> bool:
        """Whether it speaks of this reply; `text` is the reply's in lower case."""
        return (
            (not self.codes or reply.code in self.codes)
            and (not self.enhanced or reply.enhanced.startswith(self.enhanced))
            and (not self.stages or stage in self.stages)
            and (self.text is None or self.text.search(text) is not None)
        )


def load_rules(text: str) -> tuple[SignalRule, ...]:
    """Return the rules in a TOML document; raises ValueError, KeyError or re.error."""
    return tuple(
        SignalRule(
            signal=Signal(entry["signal"]),
            codes=frozenset(entry.get("codes", ())),
            enhanced=tuple(entry.get("enhanced", ())),
            stages=frozenset(Stage(name) for name in entry.get("stages", ())),
            text=re.compile("|".join(entry["text"])) if entry.get("text") else None,
        )
        for entry in tomllib.loads(text)["rule"]
    )


RULES = load_rules(
    resources.files("postroad_sender.throttle").joinpath("signals.toml").read_text("utf-8")
)


@lru_cache(maxsize=2048)
def classify(reply: Reply, stage: Stage, rules: Sequence[SignalRule] = RULES) -> Signal:
    """Return what `reply` at `stage` says about the lane."""
    if reply.is_positive:
        return Signal.NONE
    text = reply.text[:_TEXT_LIMIT].lower()
    for rule in rules:
        if rule.fits(reply, stage, text):
            return rule.signal
    if stage.opens:
        return Signal.BUSY
    return Signal.OTHER


def of_fault(fault: Fault) -> Signal:
    """Return what a fault without a reply says about the lane."""
    return _OF_FAULT.get(fault, Signal.OTHER)


_CLOCK = re.compile(  # a time span; behind `at`, or in a date, it is a time of day
    r"(?:again|retry|wait|list\w{0,8}|delay\w{0,8}|after|\bin|\bfor)\D{0,24}?"
    r"(?<!\bat )\b(\d{1,2}):(\d{2}):(\d{2})\b"
)
_SPAN = re.compile(
    r"(?:again|retry|wait|come back|list\w{0,8}|delay\w{0,8}|after|\bin|\bfor)\D{0,24}?"
    r"\b(\d{1,5})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b"
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def stated_delay(reply: Reply) -> float | None:
    """Return the seconds after which a transient `reply` asks us to come back, at most an hour."""
    if not reply.is_transient:
        return None
    text = reply.text[:_TEXT_LIMIT].lower()
    clock = _CLOCK.search(text)
    if clock:
        hours, minutes, seconds = (int(part) for part in clock.groups())
        return min(MAX_STATED_DELAY, hours * 3600.0 + minutes * 60.0 + seconds) or None
    span = _SPAN.search(text)
    if span:
        return min(MAX_STATED_DELAY, int(span[1]) * _UNITS[span[2][0]]) or None
    return None
