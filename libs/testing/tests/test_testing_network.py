"""The name server and the line that can be cut."""

import asyncio
import contextlib

import dns.asyncresolver
import dns.resolver
import pytest

from postroad_testing.forwarder import Forwarder
from postroad_testing.nameserver import running_name_server


async def test_name_server_answers_from_its_zone_and_remembers_what_it_was_asked():
    async with running_name_server() as server:
        server.zone[("d.test", "MX")] = ["10 mx.d.test."]
        server.zone[("broken.test", "MX")] = "SERVFAIL"
        host, _, port = server.address.partition(":")
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [host], int(port)
        answer = await resolver.resolve("d.test", "MX")
        assert [record.to_text() for record in answer] == ["10 mx.d.test."]
        with pytest.raises(dns.resolver.NXDOMAIN):
            await resolver.resolve("none.test", "MX")
        with pytest.raises(dns.resolver.NoNameservers):
            await resolver.resolve("broken.test", "MX")
        assert server.asked[:2] == [("d.test", "MX"), ("none.test", "MX")]


async def test_forwarder_cuts_the_line_and_mends_it_on_the_same_port():
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await reader.read()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        forwarder, url = Forwarder.to(f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", 1)
        assert url == f"amqp://127.0.0.1:{forwarder.port}/x"
        for _ in range(2):
            with pytest.raises(OSError):  # noqa: PT011 - refused, in the words of the system
                await asyncio.open_connection("127.0.0.1", forwarder.port)
            await forwarder.open()
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            await forwarder.close()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
