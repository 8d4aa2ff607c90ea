"""The content of returns: fetched where it is stored, and not kept longer than it is needed.

A large return is stored for days by the ingress, in case that nobody comes to read it. Once it was
handled it is deleted, unless it goes on to the sender of the message or has other returns beside
it: those only get a nearer end.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from postroad_common.broker.delivery import Delivery
from postroad_common.errors import StoreAway
from postroad_common.schemas.returns import Return
from postroad_common.store.bodies import Bodies, BodyGone

_log = structlog.get_logger("bounce-processor")


@dataclass(frozen=True, slots=True)
class Handled:
    """A return that was handled; `forwarded`: its stored content is still to be sent on."""

    delivery: Delivery
    returned: Return
    forwarded: bool = False


class ReturnContents:
    """Fetches and releases; `keep_seconds` is how long what is sent on may be needed."""

    def __init__(self, bodies: Bodies, *, keep_seconds: float, clock: Callable[[], float]) -> None:
        self._bodies = bodies
        self._keep_seconds = keep_seconds
        self._clock = clock

    async def fetch(self, delivery: Delivery, returned: Return, body: memoryview) -> bytes | None:
        """Return the octets; None, and the delivery has ended, where there are none any more.

        Raises:
            StoreAway: they cannot be had now.
        """
        if returned.body is None:
            return bytes(body)
        try:
            return await self._bodies.get(returned.body)
        except BodyGone as error:
            if delivery.redelivered:  # handled before, and only the acknowledgement got lost
                _log.info("return was handled before", returned=returned.id)
                delivery.ack()
            else:
                await delivery.dead(str(error))
            return None

    async def release(self, handled: Iterable[Handled]) -> None:
        """Delete what is not needed any more, or see that it goes soon."""
        try:
            for item in handled:
                reference = item.returned.body
                if reference is None:
                    continue
                if item.forwarded or item.returned.shared:
                    until = self._clock() + self._keep_seconds
                    await self._bodies.keep_only_until(reference, until)
                else:
                    await self._bodies.delete(reference)
        except StoreAway as error:  # it expires all the same
            _log.warning("stored returns not deleted", reason=str(error))
