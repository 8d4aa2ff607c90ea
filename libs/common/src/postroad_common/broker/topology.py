"""The exchanges and queues, as values. Their names exist here and nowhere else.

Each queue is named by its consumer. All are quorum queues with an explicit dead-letter queue,
a delivery limit, and at-least-once dead-lettering, which needs `reject-publish` on overflow.
`python -m postroad_common.broker.topology` prints `docs/topology.md`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

DELIVERY_LIMIT = 100
"""Redeliveries before a message is set aside: poison kills its consumer each time."""


@dataclass(frozen=True)
class Exchange:
    """An exchange; `kind` as RabbitMQ names it."""

    name: str
    kind: str
    purpose: str


@dataclass(frozen=True)
class Queue:
    """A quorum queue, what it is bound to, and where its dead go (`None`: it is the last place).

    `aside`: where its consumer puts what it cannot handle, if the broker puts its dead elsewhere.
    """

    name: str
    purpose: str
    dead: str | None
    bindings: tuple[tuple[str, str], ...] = ()  # (exchange, binding key)
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    aside: str | None = None

    @property
    def label(self) -> str:
        """The queue in metrics: all backlogs together are one."""
        return BACKLOGS if self.name.startswith(_PARKED) else self.name

    @property
    def declaration(self) -> dict[str, Any]:
        """The arguments of `queue.declare`."""
        declared: dict[str, Any] = {"x-queue-type": "quorum"}
        if self.dead is not None:
            declared |= {
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.dead,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-delivery-limit": DELIVERY_LIMIT,
            }
        return declared | dict(self.arguments)


@dataclass(frozen=True)
class RetryTier:
    """A queue without a consumer where messages wait `seconds` and then go out again."""

    seconds: int

    @property
    def name(self) -> str:
        """The name of its exchange and of its queue."""
        return f"sender.retry.{self.seconds}s"

    @property
    def exchange(self) -> Exchange:
        """A fanout of its own, so that the routing key (the destination) survives the detour."""
        return Exchange(self.name, "fanout", f"in front of the queue {self.name}")

    @property
    def queue(self) -> Queue:
        """Where messages wait; those whose time is over go to the outbound exchange."""
        return Queue(
            self.name,
            f"messages that wait {self.seconds} s before they are tried (or wait) again",
            dead=None,
            bindings=((self.name, ""),),
            arguments=MappingProxyType(
                {
                    "x-message-ttl": self.seconds * 1000,
                    "x-dead-letter-exchange": OUTBOUND.name,
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",
                }
            ),
        )


def _work(name: str, purpose: str) -> Queue:
    return Queue(name, purpose, dead=f"{name}.dead")


OUTBOUND = Exchange(
    "outbound", "x-consistent-hash", "spreads messages over the shards by destination domain"
)
SHARDS = 8

ACCEPTED = _work("transformer.accepted", "submissions, as accepted by the ingresses")
SHARD_QUEUES = tuple(
    Queue(
        f"sender.shard.{number:02d}",
        "messages to deliver; one active consumer, so each destination has one owner",
        dead="sender.shard.dead",
        bindings=((OUTBOUND.name, "1"),),
        arguments=MappingProxyType({"x-single-active-consumer": True}),
    )
    for number in range(SHARDS)
)
RETRY_TIERS = tuple(RetryTier(seconds) for seconds in (1, 5, 30, 300, 1800))
_PARKED = "sender.parked."
BACKLOGS = _PARKED.rstrip(".")
"""All queues of `parked_queue` together, in metrics."""


def parked_queue(lane: str) -> Queue:
    """Where the backlog of the lane with that key waits: made when there is one, by its owner.

    What expires there, or was brought too often, goes back to the outbound exchange.
    """
    return Queue(
        f"{_PARKED}{hashlib.sha256(lane.encode()).hexdigest()[:16]}",
        "the backlog of one closed or slow lane, declared on demand",
        dead=None,
        arguments=MappingProxyType(
            {
                "x-single-active-consumer": True,
                "x-dead-letter-exchange": OUTBOUND.name,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-delivery-limit": DELIVERY_LIMIT,
            }
        ),
        aside=SHARD_QUEUES[0].dead,
    )


RETURNS = _work("bounce-processor.returns", "mail to bounce addresses, from the MX listener")
FAILURES = _work("bounce-processor.failures", "outcomes of attempts that may call for a DSN")
EVENTS = _work("feedback.events", "batches of events, on their way to the log and the webhooks")
ARCHIVE = _work("feedback.archive", "batches of content, on their way to the archive")

PREVIEWS = Queue(
    "transformer.previews",
    "mails to be shown as they would be sent; who asked waits for the answer",
    dead=None,
    arguments=MappingProxyType(
        {
            "x-message-ttl": 15_000,
            "x-max-length": 64,
            "x-overflow": "reject-publish",
            "x-delivery-limit": 1,
        }
    ),
)
"""Questions, whose answers go to whoever asked: see `broker.questions`. Nothing in it is kept."""

EXCHANGES = (OUTBOUND, *(tier.exchange for tier in RETRY_TIERS))
WORK_QUEUES = (ACCEPTED, *SHARD_QUEUES, RETURNS, FAILURES, EVENTS, ARCHIVE)
DEAD_QUEUES = tuple(
    Queue(name, "set aside after failing for good, each with its reason", dead=None)
    for name in sorted({queue.dead for queue in WORK_QUEUES if queue.dead})
)
QUEUES = (*DEAD_QUEUES, *(tier.queue for tier in RETRY_TIERS), *WORK_QUEUES, PREVIEWS)


def to_markdown() -> str:
    """`docs/topology.md`."""
    lines = [
        "# Exchanges and queues",
        "",
        "Generated by `python -m postroad_common.broker.topology`; do not edit.",
        "",
        "| exchange | type | purpose |",
        "|---|---|---|",
        *(f"| `{e.name}` | {e.kind} | {e.purpose} |" for e in EXCHANGES),
        "",
        "| queue | purpose | bound to | dead letters go to | arguments |",
        "|---|---|---|---|---|",
    ]
    for queue in (*QUEUES, replace(parked_queue(""), name=f"{_PARKED}<lane>")):
        bound = ", ".join(f"`{exchange}`" for exchange, _ in queue.bindings) or "default exchange"
        arguments = ", ".join(f"`{k}={v}`" for k, v in sorted(queue.declaration.items()))
        dead = queue.declaration.get("x-dead-letter-exchange")
        target = queue.dead or (dead and f"exchange {dead}") or ""
        lines.append(
            f"| `{queue.name}` | {queue.purpose} | {bound} | {f'`{target}`' if target else '-'} "
            f"| {arguments} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")  # noqa: T201 - the output of this command
