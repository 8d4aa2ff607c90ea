"""What a session has proved about the server at its other end; what is needed is for the caller."""

from dataclasses import dataclass
from enum import StrEnum


class DaneState(StrEnum):
    """What the host's TLSA records came to (RFC 7672 section 2.2)."""

    ABSENT = "absent"  # the host has none, or none that DNSSEC vouches for
    UNUSABLE = "unusable"  # it has some, none of which we can check: TLS without authentication
    MATCHED = "matched"  # one fits what the server presented


@dataclass(frozen=True, slots=True)
class TlsEvidence:
    """What is None was not looked at.

    `pkix`: the certificate is good for the host's name by the public authorities. `name`: the name
    a DANE-TA certificate was found good for; empty if the key itself is the proof. `detail`: the
    TLSA record that matched, or what is wrong with the certificate.
    """

    pkix: bool | None = None
    dane: DaneState | None = None
    name: str = ""
    detail: str = ""


UNCHECKED = TlsEvidence()
