"""Taking bundles apart: each mail of one AMQP message is a delivery, and may go back alone.

A mail that has to wait, or that its process leaves to the next one, is put into its queue again,
alone and confirmed, before it ends in its bundle. So what is brought again after the death of a
process is what had not ended, but for the mails of bundles that were half done at that moment. A
bundle that was brought again and again is put back mail by mail, so that one which kills its
process is found alone.
"""

from collections.abc import Sequence

from aiormq.abc import DeliveredMessage

from postroad_common.broker.delivery import ALONE, Bundle, ConsumerChannel, Delivery, Ender
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.suspects import REDELIVERIES
from postroad_common.schemas.bundle import is_bundle, unbundle
from postroad_common.schemas.framing import FrameError


def deliveries_of(
    consumer: Ender, channel: ConsumerChannel, message: DeliveredMessage
) -> tuple[Delivery, ...]:
    """Return the deliveries in one AMQP message; what cannot be taken apart is one."""
    if is_bundle(message.body):
        try:
            frames = unbundle(message.body)
        except FrameError:
            pass  # it is set aside like any other that is no frame
        else:
            bundle = Bundle(channel, message.delivery_tag or 0, len(frames))
            return tuple(Delivery(consumer, channel, message, frame, bundle) for frame in frames)
    return (Delivery(consumer, channel, message),)


def is_suspect(delivery: Delivery) -> bool:
    """Whether it came in a bundle that may have killed its process."""
    return delivery.bundle is not None and delivery.redeliveries >= REDELIVERIES


def without_suspects(batch: Sequence[Delivery]) -> list[Delivery]:
    """Return those of `batch` that need not be put back alone first."""
    return [delivery for delivery in batch if not is_suspect(delivery)]


async def put_back(publisher: Publisher, queue: str, delivery: Delivery) -> None:
    """Put `delivery` into `queue` again, alone, and end it in its bundle.

    Raises:
        BrokerAway, Unroutable: it may not be there; it has not ended.
    """
    headers = {ALONE: delivery.redeliveries}
    await publisher.publish("", queue, delivery.body, headers=headers)
    delivery.moved()
