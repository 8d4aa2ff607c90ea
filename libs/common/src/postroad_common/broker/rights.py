"""What each service may do at the broker: the one table, and the permissions that are made of it.

A service declares the exchanges and queues that it consumes, publishes where its work goes, and
reads what is its own. `rightsmaking` makes the users; where nobody has made them, the services work
with whatever user their URL names, as one who may do everything.

RabbitMQ has no rights by routing key on its default exchange, by which most queues are published
to. So a service may add to a queue that is not its own, but never read it, empty it or delete it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from re import compile as pattern_of

from postroad_common.broker.topology import OUTBOUND, Exchange, Queue

_DEFAULT = r"amq\.default"
_OUTBOUND = OUTBOUND.name
_NOTHING = "^$"


@dataclass(frozen=True, slots=True)
class BrokerRights:
    """Names of exchanges and queues as regular expressions, without their ends.

    What a service declares it may also write to and read from: that takes in bindings and where its
    dead letters go.
    """

    declares: tuple[str, ...] = ()
    writes: tuple[str, ...] = (_DEFAULT,)
    reads: tuple[str, ...] = ()

    def is_declared(self, one: Exchange | Queue) -> bool:
        """Whether the service makes this exchange or queue."""
        return pattern_of(_any_of(*self.declares)).match(one.name) is not None

    def permission(self) -> dict[str, str]:
        """Return the three patterns of a permission of RabbitMQ."""
        return {
            "configure": _any_of(*self.declares),
            "write": _any_of(*self.declares, *self.writes),
            "read": _any_of(*self.declares, *self.reads),
        }


def _any_of(*names: str) -> str:
    return f"^({'|'.join(names)})$" if names else _NOTHING


def _own(service: str) -> str:
    return rf"{service}\..*"


ALL_RIGHTS = BrokerRights((".*",))
"""Of one user for everything."""
RIGHTS: Mapping[str, BrokerRights] = {
    "ingress-smtp": BrokerRights(),
    # Dead letters are looked at, put back and thrown away by the operator, here.
    "ingress-http": BrokerRights(writes=(_DEFAULT, _OUTBOUND), reads=(r".*\.dead",)),
    "transformer": BrokerRights((_own("transformer"),), (_DEFAULT, _OUTBOUND)),
    "sender": BrokerRights((_own("sender"), _OUTBOUND)),
    "bounce-processor": BrokerRights((_own("bounce-processor"),), (_DEFAULT, _OUTBOUND)),
    "tracker": BrokerRights(),
    "feedback": BrokerRights((_own("feedback"),)),
}
"""By the name of the service."""
