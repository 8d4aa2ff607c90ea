"""Asks DNS for TXT, MX and CNAME records, through the resolver that POSTROAD_DNS names.

The library is imported at the first question, as in `postroad_common.web.resolver`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.rdata import Rdata

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
        self._resolver: Resolver | None = None

    def _make(self) -> "Resolver":
        if self._resolver is None:
            from dns.asyncresolver import Resolver  # noqa: PLC0415 - see the module

            resolver = Resolver(configure=self._server is None)
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
        from dns.exception import DNSException  # noqa: PLC0415 - see the module
        from dns.resolver import NXDOMAIN, NoAnswer  # noqa: PLC0415 - as above

        try:
            async with self._slots:
                answer = await self._make().resolve(question.name, question.type, search=False)
        except (NXDOMAIN, NoAnswer):
            return []
        except (DNSException, OSError, ValueError):
            return None
        return [text for record in answer if (text := _read(record)) is not None]


def _read(record: "Rdata") -> str | None:
    if hasattr(record, "strings"):
        return b"".join(record.strings).decode("utf-8", "replace")
    host = getattr(record, "exchange", None) or getattr(record, "target", None)
    return None if host is None else str(host.to_text(omit_final_dot=True)).lower()
