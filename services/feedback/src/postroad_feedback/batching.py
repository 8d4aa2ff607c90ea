"""Which deliveries travel in one call: each by itself, or many where the end point wants batches.

A batch is `{"type": "batch", "timestamp": …, "data": [{"id": …, "type": …, …}, …]}`: its entries
are the bodies of single calls with their ids put in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad_common.mail.identifiers import derived_id
from postroad_common.store.deliveries import WebhookDelivery
from postroad_feedback.payload import timestamp

MOST_OCTETS = 1_048_576
"""Characters in one batch, its last event aside; a single event may be larger."""
_ALONE = frozenset({"test", "verification"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its id (`webhook-id`), its body, and what it delivers."""

    id: str
    body: str
    deliveries: tuple[WebhookDelivery, ...]


def batch(due: Sequence[WebhookDelivery], size: int) -> list[Call]:
    """Return the calls that deliver `due`, in their order, with at most `size` events in each."""
    calls: list[Call] = []
    open_batch: list[WebhookDelivery] = []
    octets = 0
    for delivery in due:
        if size <= 1 or delivery.event in _ALONE:
            calls.append(Call(delivery.id, delivery.body, (delivery,)))
            continue
        if open_batch and (len(open_batch) >= size or octets + len(delivery.body) > MOST_OCTETS):
            calls.append(_batch(open_batch))
            open_batch, octets = [], 0
        open_batch.append(delivery)
        octets += len(delivery.body)
    if open_batch:
        calls.append(_batch(open_batch))
    return calls


def _batch(deliveries: Sequence[WebhookDelivery]) -> Call:
    # The same events make the same id, so a repetition of the call can be known by it.
    last = max(delivery.created for delivery in deliveries)
    entries = ",".join(f'{{"id":"{item.id}",{item.body.strip()[1:]}' for item in deliveries)
    return Call(
        id=derived_id(last, "batch", *sorted(item.id for item in deliveries)),
        body=f'{{"type":"batch","timestamp":"{timestamp(last)}","data":[{entries}]}}',
        deliveries=tuple(deliveries),
    )
