"""MTA-STS as text: the DNS record, the policy file, and which MX hosts a policy covers (RFC 8461).

Pure. Fetching is in `fetch`, keeping in `policies`, what follows for a connection in
`requirement`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_AGE_MOST = 31_557_600  # seconds; RFC 8461 section 3.2
MOST_PATTERNS = 100

_VERSION = "v=STSv1"
_RECORD_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*(.*)", re.DOTALL)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MX = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_SECONDS = re.compile(r"[0-9]{1,10}")


class PolicyError(ValueError):
    """The text is no policy; the message says why."""


class Mode(StrEnum):
    """What to do where a host does not fit the policy (RFC 8461 section 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MtaStsPolicy:
    """A policy: `mx` are patterns in lower case, `max_age` seconds from when it was fetched."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def covers(self, host: str) -> bool:
        """Whether `host` is one of the MX hosts of the policy (RFC 8461 section 4.1)."""
        name = host.rstrip(".").lower()
        first, _, parent = name.partition(".")
        for pattern in self.mx:
            if pattern == name:
                return True
            if pattern.startswith("*.") and first and pattern[2:] == parent:
                return True
        return False


def record_id(texts: Iterable[str]) -> str | None:
    """Return the id in the TXT records of `_mta-sts.<domain>`; None if they announce no policy.

    One record must be right and be the only one (RFC 8461 section 3.1).
    """
    found = [text for text in texts if _is_record(text)]
    if len(found) != 1:
        return None
    fields = [field.strip(" \t") for field in found[0].split(";")[1:]]
    if fields and not fields[-1]:
        fields.pop()
    known: dict[str, str] = {}
    for field in fields:
        match = _RECORD_FIELD.fullmatch(field)
        if match is None:
            return None
        known.setdefault(match[1], match[2])
    name = known.get("id", "")
    return name if _ID.fullmatch(name) else None


def _is_record(text: str) -> bool:
    return text.startswith(_VERSION) and text[len(_VERSION) :].lstrip(" \t").startswith(";")


def parse(octets: bytes) -> MtaStsPolicy:
    """Return the policy in the octets of `mta-sts.txt` (RFC 8461 section 3.2).

    Of fields that may stand only once the first counts; unknown ones and empty lines are passed
    over.

    Raises:
        PolicyError: it is not a valid policy.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("not UTF-8") from None
    known: dict[str, str] = {}
    patterns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.removesuffix("\r").strip(" \t")
        if not stripped:
            continue
        match = _FIELD.fullmatch(stripped)
        if match is None or not match[2].isprintable():
            raise PolicyError(f"line {number} is no field")
        if match[1] != "mx":
            known.setdefault(match[1], match[2])
            continue
        pattern = match[2].lower()
        if len(pattern) > 255 or not _MX.fullmatch(pattern):
            raise PolicyError(f"line {number}: not an mx pattern")
        patterns[pattern] = None
        if len(patterns) > MOST_PATTERNS:
            raise PolicyError(f"more than {MOST_PATTERNS} mx patterns")
    return _policy(known, tuple(patterns))


def _policy(known: dict[str, str], patterns: tuple[str, ...]) -> MtaStsPolicy:
    for name in ("version", "mode", "max_age"):
        if name not in known:
            raise PolicyError(f"no {name}")
    if known["version"] != "STSv1":
        raise PolicyError("the version is not STSv1")
    if known["mode"] not in set(Mode):
        raise PolicyError("the mode is not enforce, testing or none")
    if not _SECONDS.fullmatch(known["max_age"]):
        raise PolicyError("max_age is no number of seconds")
    mode = Mode(known["mode"])
    if not patterns and mode is not Mode.NONE:
        raise PolicyError("no mx")
    return MtaStsPolicy(mode, patterns, min(int(known["max_age"]), MAX_AGE_MOST))
