"""Troubles of the installation, which only operators are shown."""

from postroad_common.errors import BrokerAway
from postroad_common.schemas.lanes import Phase
from postroad_ingress_http.dashboard.lanes import page_of
from postroad_ingress_http.dashboard.troubles import Trouble, gathered
from postroad_ingress_http.operations.lanes import LaneOperations
from postroad_ingress_http.operations.queues import QueueOperations

_MOST = 50
_NAMED = 5
_UNREAD = 100
"""Messages in a queue that is read by nobody, from which on it is trouble."""
_BY_OPERATORS = frozenset({Phase.PAUSED, Phase.DRAINING, Phase.DRAINED})


async def of_installation(lanes: LaneOperations, queues: QueueOperations) -> list[Trouble]:
    """Return the troubles of the installation, grave ones first."""
    return await gathered(_of_queues(queues), _of_lanes(lanes))


async def _of_queues(queues: QueueOperations) -> list[Trouble]:
    try:
        depths = await queues.worked_on()
    except BrokerAway:
        text = "Nothing is known of the queues. Mail that is accepted now waits on the clients."
        link = "/dashboard/queues"
        return [Trouble("RabbitMQ does not answer", text, link, "Queues")]
    troubles = []
    for depth in depths:
        ready = depth.ready or 0
        if depth.dead and ready:
            many = "1 message has" if ready == 1 else f"{ready:,} messages have"
            text = f"{many} been set aside in {depth.name}, each with its reason."
            link = f"/dashboard/queues/{depth.name}"
            troubles.append(Trouble("Dead letters", text, link, "Look at them"))
        elif not depth.dead and not depth.consumers and ready >= _UNREAD:
            text = f"{ready:,} messages wait in {depth.name} and no service reads it."
            troubles.append(Trouble("A queue is not read", text, "/dashboard/queues", "Queues"))
    return troubles


async def _of_lanes(lanes: LaneOperations) -> list[Trouble]:
    held = await lanes.held(_MOST)
    troubles = []
    stopped = [lane for lane in held if lane.state.phase in _BY_OPERATORS]
    waiting = [
        lane
        for lane in held
        if lane.state.phase is Phase.CLOSED
        and (lane.waiting.memory or lane.waiting.backlog or lane.waiting.requeued)
    ]
    for group, title in ((waiting, "closed by receivers"), (stopped, "stopped by operators")):
        if not group:
            continue
        named = "; ".join(
            f"{lane.site or lane.key}{f' ({lane.state.reason[:80]})' if lane.state.reason else ''}"
            for lane in group[:_NAMED]
        )
        more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
        one = len(group) == 1
        troubles.append(
            Trouble(
                title=f"{'1 lane is' if one else f'{_count(len(group))} lanes are'} {title}",
                text=f"{named}{more}.",
                link=page_of(group[0].key)
                if one
                else f"/dashboard/lanes?phase={group[0].state.phase}",
                help="The lane" if one else "The lanes",
                grave=False,
            )
        )
    return troubles


def _count(number: int) -> str:
    return f"{number}" if number < _MOST else f"{number} or more"
