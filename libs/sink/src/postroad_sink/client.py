"""A client of the mail sink's HTTP side, for the demo and the tests.

The sink itself is in `postroad_sink`.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict

_TIMEOUT = 60.0
_LONGEST_WAIT = 50.0


class SinkMessage(BaseModel):
    """A message as the sink took it; the other facts of the row are in the extra attributes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    number: int
    time: float
    envelope: str
    recipients: tuple[str, ...]
    subject: str = ""
    size: int = 0


class SinkClient:
    """Looks into the sink and tells it how to behave. Blocking; a context manager.

    Args:
        url: base URL of the sink's web page.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def messages(
        self,
        *,
        recipient: str | None = None,
        subject: str | None = None,
        since: int = 0,
        limit: int = 0,
    ) -> list[SinkMessage]:
        """Return the messages that the sink keeps, oldest first.

        Args:
            recipient: only messages to this address (or pattern such as `*@example.test`).
            subject: only messages with this in their subject.
            since: only messages with a higher number.
            limit: only the newest so many, 0 for all.
        """
        return self._find(recipient=recipient, subject=subject, since=since, limit=limit)

    def wait(
        self, *, recipient: str | None = None, since: int = 0, at_least: int = 1, limit: float
    ) -> list[SinkMessage]:
        """Wait until there are `at_least` messages; return what is there after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            left = max(0.001, deadline - time.monotonic())
            found = self._find(
                recipient=recipient,
                since=since,
                at_least=at_least,
                wait=min(left, _LONGEST_WAIT),
            )
            if len(found) >= at_least or time.monotonic() >= deadline:
                return found

    def raw(self, number: int) -> bytes:
        """Return one message as it came over the wire."""
        return self._get(f"/messages/{number}/raw").content

    def clear(self) -> None:
        """Forget all messages."""
        self._client.delete("/messages").raise_for_status()

    def behave(self, *rules: Mapping[str, Any]) -> None:
        """Replace the rules of misbehaviour; without any, the sink takes everything again."""
        self._client.put("/behaviour", json=rules).raise_for_status()

    def last_number(self) -> int:
        """Return the number of the newest message, 0 when there is none."""
        return max((message.number for message in self.messages(limit=1)), default=0)

    def _find(self, **query: str | float | None) -> list[SinkMessage]:
        given = {name: value for name, value in query.items() if value}
        rows = self._get("/messages", given).json()
        return [SinkMessage.model_validate(row) for row in rows]

    def _get(
        self, path: str, query: Mapping[str, str | float | None] | None = None
    ) -> httpx.Response:
        response = self._client.get(path, params=query, timeout=_LONGEST_WAIT + _TIMEOUT)
        response.raise_for_status()
        return response
