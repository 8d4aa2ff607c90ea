"""`/v1/queues`: what waits in RabbitMQ, and what to do with dead letters."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.broker.deadletters import MOST
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.dependencies import QueuesOf
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/queues", tags=["queues"], responses=REFUSALS)
Reader = Annotated[Token, needs("queues:read")]
Writer = Annotated[Token, needs("queues")]


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


class DeadLetterReplay(BaseModel):
    """How much to put back."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(MOST, ge=1, le=MOST, description="Messages at most; call again for more.")


class DeadLettersReplayed(BaseModel):
    """How many went back to where they came from, and how many have no known origin."""

    model_config = ConfigDict(from_attributes=True)

    replayed: int
    left: int


class DeadLettersPurged(BaseModel):
    """How many are gone."""

    purged: int


@router.get("", summary="List queues")
async def listing(_: Reader, queues: QueuesOf) -> Page[QueueView]:
    """With the number of messages that wait in each."""
    return Page(items=[QueueView.model_validate(queue) for queue in await queues.all()])


@router.get("/{name}", summary="One queue")
async def one(name: str, _: Reader, queues: QueuesOf) -> QueueView:
    """With the number of messages that wait in it."""
    return QueueView.model_validate(await queues.find(name))


@router.get("/{name}/messages", responses=refusals(409), summary="Look at dead letters")
async def look(
    name: str,
    _: Reader,
    queues: QueuesOf,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many at most.")] = 20,
) -> Page[DeadLetterView]:
    """Return the first ones, with the reason of each. They stay where they are."""
    found = await queues.look(name, limit)
    return Page(items=[DeadLetterView.model_validate(letter) for letter in found])


@router.post("/{name}/replay", summary="Put dead letters back")
async def replay(
    name: str,
    token: Writer,
    fields: Annotated[DeadLetterReplay, body(DeadLetterReplay)],
    queues: QueuesOf,
) -> DeadLettersReplayed:
    """Into the queues they came from, as if they were new."""
    return DeadLettersReplayed.model_validate(await queues.replay(name, fields.limit, token.id))


@router.delete("/{name}/messages", summary="Throw dead letters away")
async def purge(name: str, token: Writer, queues: QueuesOf) -> DeadLettersPurged:
    """All of them, for good."""
    return DeadLettersPurged(purged=await queues.purge(name, token.id))
