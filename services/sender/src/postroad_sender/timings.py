"""How often the sender looks, writes and asks, in seconds; tests have less patience."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """All in seconds. `worth_a_queue` counts messages."""

    heartbeat: float = 2.0
    """Between two rounds of saying that this replica is alive."""
    directives_every: float = 2.0
    """Between two looks for new directives."""
    directives_unknown: float = 30.0
    """For which a message is held at a time while it is not known what is directed for it."""
    save_every: float = 6.0
    """Between two writings of what the lanes have learnt."""
    settling: float = 3.0
    """After a start until a shard that has brought nothing is taken for another replica's."""
    held_longest: float = 300.0
    """That a message waits in memory for its turn; the broker takes back what is held longer."""
    backlog_every: float = 5.0
    """Between two looks at the queues of backlogs."""
    backlog_empty_for: float = 30.0
    """Until the queue of a backlog that stays empty is deleted."""
    worth_a_queue: float = 100.0
    """Messages of a lane in the retry tiers, for which it gets a queue of its own."""
    exchange_every: float = 1.0
    """Between two looks at what other replicas want of a cluster limit."""
    allocation_turn: float = 10.0
    """For which a holder has what is too little to be divided."""
