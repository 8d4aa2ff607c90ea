"""The one record that understanding a returned mail ends in."""

from dataclasses import dataclass
from enum import StrEnum

from postroad_common.mail.classification import Classification


class ReturnKind(StrEnum):
    """What a returned mail is."""

    BOUNCE = "bounce"
    """The mail was not delivered, and no more attempts are made."""
    DELAYED = "delayed"
    """A server on the way is still trying."""
    SUCCESS = "success"
    """A server reports that it delivered, relayed or expanded the mail."""
    COMPLAINT = "complaint"
    """The recipient marked the mail as unwanted (RFC 5965)."""
    RESPONSE = "response"
    """A reply of a program or a person: vacation, read receipt, challenge."""
    UNKNOWN = "unknown"
    """None of these, as far as can be told."""


class RecordSource(StrEnum):
    """Which reader understood the mail, from the surest to the least sure."""

    REPORT = "report"
    FEEDBACK = "feedback"
    FORMAT = "format"
    REPLY = "reply"
    WORDS = "words"
    FALLBACK = "fallback"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a returned mail says about the message that it answers."""

    kind: ReturnKind
    source: RecordSource
    confidence: float
    """0 (a guess) to 1 (a signed fact)."""
    recipient: str = ""
    """The address that the mail speaks of, as it spells it; empty if it names none."""
    bounce_class: Classification | None = None
    """Why it failed; None where nothing did."""
    hard: bool = False
    """The address itself is dead, beyond doubt: sending there again is pointless."""
    code: int | None = None
    enhanced: str = ""
    diagnostic: str = ""
    reporting_host: str = ""
    remote_host: str = ""
    detail: str = ""
    """What kind of response, complaint or success: vacation, abuse, relayed and so on."""
    standard: bool = False
    """The mail is a delivery status notification after RFC 3464."""
