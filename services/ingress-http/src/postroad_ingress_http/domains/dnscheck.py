"""Asks DNS for TXT, MX and CNAME records, through the resolver that POSTROAD_DNS names."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.rdata
import dns.resolver

LIFETIME_SECONDS = 4.0
_AT_ONCE = 8

RecordType = Literal["TXT", "MX", "CNAME"]


class Question(NamedTuple):
    """What DNS is asked."""

    name: str
    type: RecordType


Answers = Mapping[Question, list[str] | None]
"""The records found for each question: texts, or host names in lower case without their dot.

None where DNS gave no answer.
"""


class DnsChecker:
    """`server` is `host:port`; None means the system's resolver."""

    def __init__(self, server: str | None) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._resolver: dns.asyncresolver.Resolver | None = None

    def _make(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            resolver = dns.asyncresolver.Resolver(configure=self._server is None)
            if self._server is not None:
                host, _, port = self._server.rpartition(":")
                resolver.nameservers = [host.strip("[]")]
                resolver.port = int(port)
            resolver.lifetime = LIFETIME_SECONDS
            self._resolver = resolver
        return self._resolver

    async def answers(self, questions: Iterable[Question]) -> Answers:
        """Ask all the questions; return what was found."""
        wanted = list(dict.fromkeys(questions))
        found = await asyncio.gather(*(self._ask(question) for question in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _ask(self, question: Question) -> list[str] | None:
        try:
            async with self._slots:
                answer = await self._make().resolve(question.name, question.type, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, ValueError):
            return None
        return [text for record in answer if (text := _read(record)) is not None]


def _read(record: dns.rdata.Rdata) -> str | None:
    if hasattr(record, "strings"):
        return b"".join(record.strings).decode("utf-8", "replace")
    host = getattr(record, "exchange", None) or getattr(record, "target", None)
    return None if host is None else str(host.to_text(omit_final_dot=True)).lower()
