"""`/v1/queues`: what waits in RabbitMQ, and what to do with dead letters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import structlog
from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.broker.deadletters import MOST
from postroad_common.broker.depths import QueueDepth
from postroad_common.broker.topology import QUEUES
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import Page
from postroad_ingress_http.errors import ApiError, not_found
from postroad_ingress_http.parts import Parts

_log = structlog.get_logger(__name__)
_KNOWN = frozenset(queue.name for queue in QUEUES)


class QueueView(BaseModel):
    """A queue; `ready` and `consumers` are null when it does not exist."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    purpose: str
    ready: int | None
    consumers: int | None
    dead: bool


class DeadLetterView(BaseModel):
    """A dead letter without its content: where it came from, why it is here, whose mail it is."""

    model_config = ConfigDict(from_attributes=True)

    queue: str
    reason: str
    time: float | None
    size: int
    messages: list[str]


class ReplayOrder(BaseModel):
    """How much to put back."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(MOST, ge=1, le=MOST, description="Messages at most; call again for more.")


class ReplayView(BaseModel):
    """How many went back to where they came from, and how many nobody knows a place for."""

    model_config = ConfigDict(from_attributes=True)

    replayed: int
    left: int


class PurgeView(BaseModel):
    """How many are gone."""

    purged: int


async def find_queue(parts: Parts, name: str) -> QueueDepth:
    """The queue of that name.

    Raises:
        ApiError: 404.
    """
    for queue in QUEUES:
        if queue.name == name:
            return (await parts.depths.of([queue]))[0]
    raise not_found("queue")


@contextmanager
def dead_only(name: str) -> Iterator[None]:
    """Turn the refusal of a queue that has no dead letters into an ApiError: 404 or 409."""
    try:
        yield
    except KeyError:
        if name not in _KNOWN:
            raise not_found("queue") from None
        text = "This is for dead-letter queues only: a service works on what is in this one."
        raise ApiError(409, text) from None


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "queues:read")
    writing = needs(parts.authenticator, "queues")

    @app.get("/v1/queues", tags=["queues"], summary="List queues")
    async def queues(_: Annotated[Token, reading]) -> Page[QueueView]:
        """With the number of messages that wait in each."""
        found = await parts.depths.all()
        return Page(items=[QueueView.model_validate(queue) for queue in found])

    @app.get("/v1/queues/{name}", tags=["queues"], summary="One queue")
    async def queue(name: str, _: Annotated[Token, reading]) -> QueueView:
        """With the number of messages that wait in it."""
        return QueueView.model_validate(await find_queue(parts, name))

    @app.get("/v1/queues/{name}/messages", tags=["queues"], summary="Look at dead letters")
    async def look(
        name: str,
        _: Annotated[Token, reading],
        limit: Annotated[int, Query(ge=1, le=MOST, description="How many at most.")] = 20,
    ) -> Page[DeadLetterView]:
        """The first ones, with the reason of each. They stay where they are."""
        with dead_only(name):
            found = await parts.dead_letters.look(name, limit)
        return Page(items=[DeadLetterView.model_validate(letter) for letter in found])

    @app.post("/v1/queues/{name}/replay", tags=["queues"], summary="Put dead letters back")
    async def replay(
        name: str,
        token: Annotated[Token, writing],
        fields: Annotated[ReplayOrder, body(ReplayOrder)],
    ) -> ReplayView:
        """Into the queues they came from, as if they were new."""
        return await put_back(parts, name, fields.limit, token.id)

    @app.delete("/v1/queues/{name}/messages", tags=["queues"], summary="Throw dead letters away")
    async def purge(name: str, token: Annotated[Token, writing]) -> PurgeView:
        """All of them, for good."""
        return await throw_away(parts, name, token.id)


async def put_back(parts: Parts, name: str, limit: int, by: str) -> ReplayView:
    """Put dead letters back; `by` is who wants it.

    Raises:
        ApiError: 404 or 409, see `dead_only`.
    """
    with dead_only(name):
        done = await parts.dead_letters.replay(name, limit)
    _log.warning("dead letters put back", queue=name, by=by, count=done.replayed, left=done.left)
    return ReplayView.model_validate(done)


async def throw_away(parts: Parts, name: str, by: str) -> PurgeView:
    """Purge a dead-letter queue; `by` is who wants it.

    Raises:
        ApiError: 404 or 409, see `dead_only`.
    """
    with dead_only(name):
        purged = await parts.dead_letters.purge(name)
    _log.warning("dead letters thrown away", queue=name, by=by, count=purged)
    return PurgeView(purged=purged)
