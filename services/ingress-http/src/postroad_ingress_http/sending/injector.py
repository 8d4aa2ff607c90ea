"""Injects a prepared submission: a large body into the store, the rest onto the queue.

When `inject` returns, guarantee 1 holds: the submission is on a replicated durable queue. One for
later waits in the database until then, written by a majority.
"""

import contextlib

from postroad_common.broker import EventWriter, Publisher
from postroad_common.broker.bundling import BundlePublisher
from postroad_common.errors import BrokerAway, Transient
from postroad_common.metrics import ACCEPTED_BYTES, ACCEPTED_MESSAGES, ACCEPTED_RECIPIENTS
from postroad_common.schemas import events, framing
from postroad_common.store.access import within
from postroad_common.store.bodies import Bodies
from postroad_ingress_http.http import patience
from postroad_ingress_http.sending.scheduling import KEEP_SECONDS, Scheduling
from postroad_ingress_http.sending.submission import Prepared

_MESSAGES = ACCEPTED_MESSAGES.labels("rest")
_RECIPIENTS = ACCEPTED_RECIPIENTS.labels("rest")
_BYTES = ACCEPTED_BYTES.labels("rest")


class Injector:
    """Puts submissions on the queue of the transformer and tells feedback."""

    def __init__(
        self,
        publisher: Publisher,
        submissions: BundlePublisher,
        bodies: Bodies,
        writer: EventWriter,
        scheduling: Scheduling,
        *,
        inline_max: int,
    ) -> None:
        self._publisher = publisher
        self._submissions = submissions
        self._bodies = bodies
        self._writer = writer
        self._scheduling = scheduling
        self._inline_max = inline_max

    async def inject(self, prepared: Prepared) -> None:
        """Return when the submission is safe, before the client has waited for too long.

        Raises:
            BrokerAway, StoreAway: it may not be; the client must be told so.
        """
        submission, body = prepared.submission, prepared.message
        if not self._publisher.is_up:
            raise BrokerAway("no connection to RabbitMQ")
        if len(body) > self._inline_max:
            with within(patience.current().left(more_follows=True)):
                reference = await self._bodies.put(body, submission.expires + KEEP_SECONDS)
            submission = submission.model_copy(update={"body": reference})
            body = b""
        if submission.send_at is None:
            frame = framing.encode(submission, body)
            await self._submissions.publish(frame, timeout=patience.current().left())
        else:
            with within(patience.current().left()):
                await self._scheduling.add(submission, body)
        _MESSAGES.inc()
        _BYTES.inc(submission.size)
        _RECIPIENTS.inc(len(submission.recipients))
        for recipient in submission.recipients:
            # The transformer tells the same facts again, so that losing this loses nothing.
            with contextlib.suppress(Transient):
                self._writer.add(events.accepted(submission, recipient))
