"""The server's side of Dovecot's authentication protocol, for one login: who Postfix asks.

It spares the measurement a password database of Cyrus SASL. Version 1.1 of the protocol, PLAIN
with an initial response only (doc/auth-protocol.txt of Dovecot).
"""

import asyncio
import base64
import binascii
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


def greeting(process: int) -> bytes:
    """Return what the server says first."""
    return (
        "VERSION\t1\t1\n"
        "MECH\tPLAIN\tplaintext\n"
        f"SPID\t{process}\nCUID\t1\nCOOKIE\t{'0' * 32}\nDONE\n"
    ).encode()


def answer(line: str, username: str, password: str) -> bytes:
    """Return the reply to a line of the client; empty for one that is only information."""
    verb, *words = line.rstrip("\n").split("\t")
    if verb != "AUTH" or len(words) < 2:
        return b""
    number, mechanism, *options = words
    given = next((one[5:] for one in options if one.startswith("resp=")), "")
    try:
        _, user, secret = base64.b64decode(given, validate=True).decode().split("\0")
    except (binascii.Error, ValueError):
        return f"FAIL\t{number}\treason=unreadable\n".encode()
    if mechanism == "PLAIN" and (user, secret) == (username, password):
        return f"OK\t{number}\tuser={user}\n".encode()
    return f"FAIL\t{number}\tuser={user}\n".encode()


@asynccontextmanager
async def answering(path: Path, username: str, password: str) -> AsyncIterator[None]:
    """Answer on a socket that every local user may open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(os.getpid()))
        async for line in reader:
            writer.write(answer(line.decode(), username, password))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    await asyncio.to_thread(path.chmod, 0o666)
    try:
        yield
    finally:
        server.close()
