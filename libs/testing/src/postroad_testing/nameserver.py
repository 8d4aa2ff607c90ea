"""A name server that answers from a table."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Address = tuple[str, int]
_MOST_UDP = 512  # octets of an answer (RFC 1035 section 2.3.4)
_LENGTH = struct.Struct("!H")


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`: (name, type) to records, to an rcode, or to None for silence.

    `LAME` is what a server says that does not know. A record is its data; `CNAME other.test.` for
    an alias; `owner.test.|data` for another owner. What has more than 512 octets is truncated, and
    answered over TCP. Answers about names that end in one of `signed`, and in none of `unsigned`,
    are marked as authentic, if that is asked for. `asked` has every question.
    """

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str] | str | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self.signed: tuple[str, ...] = ()
        self.unsigned: tuple[str, ...] = ()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where it listens, as `host:port`."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer one question, or keep silent."""
        answer = self._answer_to(data)
        if answer is None or self._transport is None:
            return
        octets = answer.to_wire()
        if len(octets) > _MOST_UDP:
            answer.flags |= dns.flags.TC
            answer.answer.clear()
            octets = answer.to_wire()
        self._transport.sendto(octets, addr)

    async def answer_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one question over TCP, or keep silent."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            answer = self._answer_to(await reader.readexactly(length))
            if answer is not None:
                octets = answer.to_wire()
                writer.write(_LENGTH.pack(len(octets)) + octets)
            await reader.read()  # until the client is gone
        writer.close()

    def _answer_to(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        found = self.zone.get((name, kind), self.zone.get((name, "*"), []))
        if found is None:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        signed = name.endswith(self.signed) and not name.endswith(self.unsigned)
        if query.flags & dns.flags.AD and signed:
            answer.flags |= dns.flags.AD
        if found == "LAME":
            answer.flags &= ~dns.flags.RA
        elif isinstance(found, str):
            answer.set_rcode(dns.rcode.from_text(found))
        elif not found and not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        for text in found if isinstance(found, list) else []:
            answer.answer.append(_record(name, kind, text))
        return answer


def _record(name: str, kind: str, text: str) -> dns.rrset.RRset:
    owner, _, value = text.rpartition("|")
    if value.startswith("CNAME "):
        return dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", value.removeprefix("CNAME "))
    return dns.rrset.from_text(owner or f"{name}.", 60, "IN", kind, value)


@asynccontextmanager
async def running_name_server() -> AsyncIterator[NameServer]:
    """Run a name server on loopback in this event loop."""
    loop = asyncio.get_running_loop()
    server = NameServer()
    while True:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: server, local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        try:
            streams = await asyncio.start_server(server.answer_stream, "127.0.0.1", port)
        except OSError:  # somebody else has that port for TCP
            transport.close()
        else:
            break
    try:
        yield server
    finally:
        streams.close()
        transport.close()
