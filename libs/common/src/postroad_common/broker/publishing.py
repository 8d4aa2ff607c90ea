"""One publication on a channel: whether the broker takes it, its frames, and its confirm."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiormq.exceptions
from aiormq.channel import Channel as RawChannel

from postroad_common.broker.confirming import ConfirmingChannel
from postroad_common.broker.publishframes import publication
from postroad_common.errors import BrokerAway

QUIET = 1.0
"""Seconds without a confirm after which the broker is asked whether it takes anything."""
BLOCKED = "RabbitMQ takes nothing: its disk or memory is short"
_LOOK = 0.02  # seconds


class Publication(NamedTuple):
    """One publication. After `expires` seconds in a queue it is dead-lettered; None: never."""

    exchange: str
    routing_key: str
    body: bytes
    expires: float | None = None


_PROBE = Publication("", "postroad.nowhere", b"")


def refuse_if_blocked(channel: ConfirmingChannel) -> None:
    """Raise BrokerAway while the broker takes nothing."""
    if channel.is_blocked:
        raise BrokerAway(BLOCKED)


async def ensure_taken(channel: ConfirmingChannel) -> None:
    """Raise BrokerAway if the broker takes nothing, as far as it has said so lately.

    RabbitMQ tells a connection of its alarm at the next publication, and delivers that one when the
    alarm is over: a mail would be refused now and delivered then. So after `QUIET` seconds without
    a confirm something is published first that no queue takes.
    """
    refuse_if_blocked(channel)
    if time.perf_counter() - channel.heard < QUIET:
        return
    raw = channel.raw
    async with raw.lock:
        confirmation = await send(raw, _PROBE, None)
    while not confirmation.done():
        await asyncio.wait((confirmation,), timeout=_LOOK)
        if channel.is_blocked:
            confirmation.cancel()
            raise BrokerAway(BLOCKED)
    with contextlib.suppress(aiormq.exceptions.PublishError):  # it came back: all is well
        await confirmation
    channel.heard = time.perf_counter()


async def send(
    channel: RawChannel, one: Publication, headers: Mapping[str, Any] | None
) -> "asyncio.Future[Any]":
    """Write one publication; the future ends with its confirm. The channel's lock must be held.

    What `basic_publish` of the library does, for a third of its processor time: it makes a random
    id, a timer and three contexts for each message.
    """
    channel.delivery_tag += 1
    tag = channel.delivery_tag
    name = str(tag)  # by which the library finds the confirmation of what is returned
    try:
        frame = publication(
            channel.number,
            one.exchange,
            one.routing_key,
            one.body,
            message_id=name,
            expiration=None if one.expires is None else str(max(1, int(one.expires * 1000))),
            headers=headers,
            most=channel.max_content_size,
        )
        confirmation = channel.create_future()
        channel.confirmations[tag] = confirmation
        channel.message_id_delivery_tag[name] = tag
        confirmation.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(name, None))
        await channel.write_queue.put(frame)
    except BaseException:
        channel.delivery_tag -= 1  # the broker has not seen it
        channel.confirmations.pop(tag, None)
        channel.message_id_delivery_tag.pop(name, None)
        raise
    return confirmation
