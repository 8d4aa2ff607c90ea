"""Errors that every service knows how to end: those worth a second try, and those that are not."""


class PostroadError(Exception):
    """The root of Postroad's own errors."""


class Transient(PostroadError):  # noqa: N818 - read as an adjective: "raise Transient"
    """Something outside is away for now; the same work may succeed later."""


class BrokerAway(Transient):
    """RabbitMQ cannot be reached, is blocked, or did not confirm in time."""


class StoreAway(Transient):
    """MongoDB cannot be reached, has no primary, or did not answer in time."""


class Unroutable(PostroadError):  # noqa: N818 - the field's word
    """The broker confirmed that no queue takes this message: the topology is not in place."""


class Unstorable(ValueError):  # noqa: N818 - a fact about the value
    """The database cannot hold such a value, today or tomorrow: too large, or of a kind of its own.

    Trying again does not help.
    """
