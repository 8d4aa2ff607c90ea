"""Keeps the newest messages in memory, bounded by number and by bytes, and finds them again."""

import asyncio
import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from postroad_sink import mime


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """How a connection was protected. `name` is the host name the client asked for (SNI)."""

    version: str
    cipher: str
    name: str | None


@dataclass(frozen=True, slots=True)
class ConnectionOrigin:
    """Where a message came from. `connection` numbers the connections since the start."""

    client: str
    client_port: int
    server: str
    connection: int
    helo: str
    protocol: str
    tls: TlsFacts | None
    login: str | None


@dataclass(frozen=True)
class KeptMessage:
    """A message as it was taken. `time` is Unix seconds; `raw` is the MIME text, not dot-stuffed.

    `parameters` and `recipient_parameters` are the ESMTP parameters as they came, xtext and all;
    the latter in the order of `recipients`. `transaction` counts within the connection.
    """

    number: int
    time: float
    envelope: str
    parameters: dict[str, str]
    recipients: tuple[str, ...]
    recipient_parameters: tuple[dict[str, str], ...]
    origin: ConnectionOrigin
    transaction: int
    raw: bytes

    @cached_property
    def subject(self) -> str:
        """The subject, decoded; '' if there is none."""
        return mime.subject(self.raw)

    def as_json(self) -> dict[str, Any]:
        """One row of `GET /messages`."""
        origin = self.origin
        tls = origin.tls
        return {
            "number": self.number,
            "time": self.time,
            "envelope": self.envelope,
            "recipients": self.recipients,
            "mail_parameters": self.parameters,
            "recipient_parameters": self.recipient_parameters,
            "subject": self.subject,
            "size": len(self.raw),
            "client": origin.client,
            "client_port": origin.client_port,
            "server": origin.server,
            "helo": origin.helo,
            "protocol": origin.protocol,
            "tls": tls and {"version": tls.version, "cipher": tls.cipher, "name": tls.name},
            "login": origin.login,
            "connection": origin.connection,
            "transaction": self.transaction,
        }


def _anything(_: str) -> bool:
    return True


def _pattern(text: str | None) -> Callable[[str], bool]:
    if text is None:
        return _anything
    compiled = re.compile(fnmatch.translate(text), re.IGNORECASE)
    return lambda value: compiled.match(value) is not None


@dataclass(frozen=True)
class MessageFilter:
    """Which messages are wanted. Patterns are those of a shell; `subject` is a part of it."""

    recipient: str | None = None
    envelope: str | None = None
    subject: str | None = None
    since: int = 0
    _recipient: Callable[[str], bool] = field(init=False, default=_anything, repr=False)
    _envelope: Callable[[str], bool] = field(init=False, default=_anything, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_recipient", _pattern(self.recipient))
        object.__setattr__(self, "_envelope", _pattern(self.envelope))

    def takes(self, message: KeptMessage) -> bool:
        """Whether the message is one of them."""
        return (
            message.number > self.since
            and (self.recipient is None or any(map(self._recipient, message.recipients)))
            and self._envelope(message.envelope)
            and (self.subject is None or self.subject.lower() in message.subject.lower())
        )


class SinkMailbox:
    """The newest messages, oldest first. Whoever waits for more can `await changed()`."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: dict[int, KeptMessage] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.bytes = 0
        self.dropped = 0
        self.last_number = 0

    def __len__(self) -> int:
        return len(self._messages)

    def next_number(self) -> int:
        """Return the number of the next message; numbers are never used again."""
        self.last_number += 1
        return self.last_number

    def add(self, message: KeptMessage) -> None:
        """Keep a message and let go of the oldest ones that no longer fit."""
        self._messages[message.number] = message
        self.bytes += len(message.raw)
        while len(self._messages) > 1 and (
            len(self._messages) > self._max_messages or self.bytes > self._max_bytes
        ):
            oldest = self._messages.pop(next(iter(self._messages)))
            self.bytes -= len(oldest.raw)
            self.dropped += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def get(self, number: int) -> KeptMessage | None:
        """Return the message of that number, None when it is not there any more."""
        return self._messages.get(number)

    def find(self, wanted: MessageFilter) -> Iterator[KeptMessage]:
        """Yield the messages that a filter takes, newest first."""
        for message in reversed(self._messages.values()):
            if message.number <= wanted.since:
                return
            if wanted.takes(message):
                yield message

    async def changed(self) -> None:
        """Return when the next message has come."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def clear(self) -> int:
        """Forget all messages; how many there were."""
        count = len(self._messages)
        self._messages.clear()
        self.bytes = 0
        return count
