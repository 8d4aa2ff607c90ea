"""A client of the mail sink's HTTP side, for the demo and the tests.

The sink itself is in `postroad_stack.sink`.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict

_TIMEOUT = 10.0
_POLL = 0.03


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

    def messages(self, **query: str | int) -> list[SinkMessage]:
        """Return the messages that the sink keeps, oldest first; `query` narrows them down."""
        rows = self._get("/messages", **query).json()
        return [SinkMessage.model_validate(row) for row in rows]

    def raw(self, number: int) -> bytes:
        """Return one message as it came over the wire."""
        return self._get(f"/messages/{number}/raw").content

    def clear(self) -> None:
        """Forget all messages."""
        self._client.delete("/messages").raise_for_status()

    def behave(self, behaviour: Any) -> None:
        """Tell the sink how to behave from now on (`POST /behaviour`)."""
        self._client.post("/behaviour", json=behaviour).raise_for_status()

    def find(
        self, wanted: Callable[[SinkMessage], bool], *, limit: float, after: int = 0
    ) -> SinkMessage | None:
        """Wait for a message; None when it has not come after `limit` seconds.

        Args:
            wanted: picks the message.
            limit: seconds.
            after: only messages with a higher number.
        """
        deadline = time.monotonic() + limit
        while True:
            for message in self.messages():
                if message.number > after and wanted(message):
                    return message
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL)

    def last_number(self) -> int:
        """Return the number of the newest message, 0 when there is none."""
        return max((message.number for message in self.messages()), default=0)

    def _get(self, path: str, **query: str | int) -> httpx.Response:
        response = self._client.get(path, params=query or None)
        response.raise_for_status()
        return response
