"""Why a message goes back to a queue: the one list of reasons, seen in timeline, metric and log.

Each place in any service that lets a message wait for another try names one of these, whether it
waits in a queue or in the memory of the process that holds its delivery. The free text beside it (a
server's reply, a rule's name) is for people; this is what is counted and searched.
"""

from enum import StrEnum


class RequeueReason(StrEnum):
    """The reason of a requeue. An attempt was made only for `DEFERRED`."""

    DEFERRED = "deferred"
    """A server, or the failure to reach one, deferred the message: it waits in its retry tier."""
    NOT_DUE = "not_due"
    """Its retry tier fired before `not_before`: it waits in the tier for the rest."""
    TWIN_UNDER_WAY = "twin_under_way"
    """Another copy of the message is under way in this process, and decides what is left to do."""
    LANE_FULL = "lane_full"
    """Its lane has more than a fair part of this process: it makes room for other lanes."""
    LANE_CLOSED = "lane_closed"
    """The receiver throttles or cannot be reached: the lane opens again after a penalty."""
    PAUSED = "paused"
    """An operator has paused the lane."""
    LIMIT_REACHED = "limit_reached"
    """A configured limit is used up: connections, rate, messages per hour or day."""
    WARMUP = "warmup"
    """The source's allowance of the day is used up."""
    ROUTING_PENDING = "routing_pending"
    """Too many messages wait already for the look-up of their domain."""
    ROUTING_FAILED = "routing_failed"
    """The look-up of the domain failed in a way that says nothing about the domain."""
    BODY_UNAVAILABLE = "body_unavailable"
    """The store cannot give or take a body now."""
    SHARD_MOVED = "shard_moved"
    """Another replica owns the shard now."""
    DRAIN = "drain"
    """This process stops."""
    DEPENDENCY_AWAY = "dependency_away"
    """The broker or the database is away: the delivery is held until it is back."""
    HANDLER_FAILED = "handler_failed"
    """A defect: the handler raised an error, or did not end the delivery. Three tries; an attempt
    at delivery that raises one is repeated until the message's time is over."""
    MESSAGE_UNKNOWN = "message_unknown"
    """What a return is about is not in the store yet."""
    TAKEN_APART = "taken_apart"
    """It came in one AMQP message with others, and goes on alone so that it holds up none."""
    CONNECTION_LOST = "connection_lost"
    """The channel to the broker is gone: it brings again what had not ended."""
