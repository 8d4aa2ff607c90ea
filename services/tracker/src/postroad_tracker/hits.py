"""A hit: one request of a reader (or of a machine) for a signed link, ready to be kept.

Here are the value and its one-line form in the spool; who is a machine is decided in `bots`
and `burst_detector`, what the event log makes of a hit in `forwarder`.
"""

import json
from dataclasses import dataclass
from typing import Any

from postroad_common.tokens import LinkKind

# Everything below comes from strangers. The limits keep an event below 5 kB.
MAX_URL = 2048
MAX_USER_AGENT = 512
MAX_REFERER = 1024
_encode = json.JSONEncoder(separators=(",", ":")).encode
_KINDS = {kind.value: kind for kind in LinkKind}


@dataclass(frozen=True, slots=True)
class Hit:
    """What is known about one hit; `time` in Unix seconds, lengths in characters as above."""

    id: str
    kind: LinkKind
    message: str
    number: int
    time: float
    ip: str
    url: str = ""
    user_agent: str = ""
    referer: str = ""
    machine: str = ""
    """Why this was no person: a reason of `bots` or `burst_detector`, or empty."""

    def to_line(self) -> bytes:
        """Return one line of ASCII JSON with its line end."""
        # Written out by hand: this stands on the way of every reader, and dataclasses.asdict
        # takes longer than all the rest.
        fields = {
            "id": self.id,
            "kind": self.kind.value,
            "message": self.message,
            "number": self.number,
            "time": self.time,
            "ip": self.ip,
            "url": self.url,
            "user_agent": self.user_agent,
            "referer": self.referer,
            "machine": self.machine,
        }
        return _encode(fields).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Hit | Amendment":
        """Read a line of `to_line`, or an amendment.

        Raises:
            ValueError: the line is torn or foreign.
        """
        try:
            fields: dict[str, Any] = json.loads(line)
            if "amends" in fields:
                return Amendment(str(fields["amends"]), str(fields["machine"]))
            fields["kind"] = _KINDS[fields["kind"]]
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a hit: {error}") from None


@dataclass(frozen=True, slots=True)
class Amendment:
    """What a later request taught about an earlier hit."""

    hit: str
    machine: str

    def to_line(self) -> bytes:
        """Return one line of ASCII JSON with its line end."""
        return _encode({"amends": self.hit, "machine": self.machine}).encode("ascii") + b"\n"


def clip(octets: bytes, limit: int) -> str:
    """Return a header value as text of at most `limit` characters, without control characters."""
    text = octets[: limit * 4].decode("utf-8", "replace")[:limit]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
