"""Questions to one name server, whose answers are bounded.

An answer over TCP may have 64 kB, and to read that one takes this process longer than to send a
hundred messages. Nobody needs so many MX records.
"""

import asyncio
import errno
import struct
from typing import Any

import dns.message
import dns.nameserver
import dns.query

MOST_OCTETS = 16_384  # of an answer
_LENGTH = struct.Struct("!H")


class BoundedNameserver(dns.nameserver.Do53Nameserver):
    """A name server whose answers over TCP are read only up to `MOST_OCTETS`."""

    async def async_query(  # noqa: PLR0917 - the signature is dnspython's
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - the same
        source: str | None,
        source_port: int,
        max_size: bool,  # noqa: FBT001 - the same
        backend: Any,
        one_rr_per_rrset: bool = False,  # noqa: FBT001, FBT002 - the same
        ignore_trailing: bool = False,  # noqa: FBT001, FBT002 - the same
    ) -> dns.message.Message:
        """Ask over UDP, or over TCP if `max_size`: the answer was truncated then.

        Raises:
            OSError: it is too large, and so the resolver does not ask this server again.
        """
        if not max_size:
            return await super().async_query(
                request,
                timeout,
                source,
                source_port,
                max_size,
                backend,
                one_rr_per_rrset,
                ignore_trailing,
            )
        async with asyncio.timeout(timeout):
            answer = dns.message.from_wire(await self._ask(request.to_wire()))
        if not request.is_response(answer):
            raise dns.query.BadResponse
        return answer

    async def _ask(self, question: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(_LENGTH.pack(len(question)) + question)
            (octets,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if octets > MOST_OCTETS:
                raise OSError(errno.EMSGSIZE, f"the answer has {octets} octets")
            return await reader.readexactly(octets)
        finally:
            writer.transport.abort()
