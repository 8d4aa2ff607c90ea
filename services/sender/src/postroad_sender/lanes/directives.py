"""What an operator has directed for a lane, as the sender understands it. Values only.

The REST API writes directives into the store of lanes (`lane_store`), where they stay until
they are taken back. A field that is not understood is left out; the others still hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from postroad_common.mail.reply import Reply
from postroad_sender.connect.redirect import Redirect
from postroad_sender.throttle.controller import Kind
from postroad_smtp.client.session import TlsWish

DEFAULT_REASON = "ordered by an operator"


@dataclass(frozen=True, slots=True)
class Bounce:
    """Mail that was received before a time (Unix seconds) fails with `reply`, unsent."""

    before: float
    reply: Reply


@dataclass(frozen=True, slots=True)
class Directives:
    """All directives for one lane; times are Unix seconds.

    `paused_until` is infinite for a pause without end. `draining` is a pause, too, for which
    connections are closed at once. `cancel`: what was learnt of that kind until then is forgotten.
    `simulate`: kinds of effects that are only shown.
    """

    reason: str = DEFAULT_REASON
    since: float | None = None
    paused_until: float | None = None
    draining: bool = False
    connections: float | None = None
    rate: float | None = None
    cancel: tuple[tuple[Kind, float], ...] = ()
    bounce: Bounce | None = None
    redirect: Redirect | None = None
    simulate: frozenset[Kind] = frozenset()

    @classmethod
    def parse(cls, order: Mapping[str, Any]) -> "Directives":
        """Return the directives in a document of the store."""
        paused = order.get("paused")
        cancel = order.get("cancel")
        pairs = cancel.items() if isinstance(cancel, Mapping) else ()
        simulate = order.get("simulate")
        given = order.get("given")
        return cls(
            reason=str(order.get("reason") or DEFAULT_REASON)[:500],
            since=_number(given.get("at")) if isinstance(given, Mapping) else None,
            paused_until=inf if paused is True else _positive(paused),
            draining=order.get("drain") is True,
            connections=_positive(order.get("connections")),
            rate=_positive(order.get("rate")),
            cancel=tuple(
                (Kind(name), at)
                for name, moment in pairs
                if name in set(Kind) and (at := _number(moment)) is not None
            ),
            bounce=_bounce(order.get("bounce")),
            redirect=_redirect(order.get("redirect")),
            simulate=frozenset(
                Kind(name)
                for name in (simulate if isinstance(simulate, list) else ())
                if isinstance(name, str) and name in set(Kind)
            ),
        )


NO_DIRECTIVES = Directives()


def _bounce(order: object) -> Bounce | None:
    if not isinstance(order, Mapping):
        return None
    before = _number(order.get("before"))
    try:
        reply = Reply.parse(str(order.get("reply") or ""))
    except ValueError:
        return None
    return Bounce(before, reply) if before is not None and reply.is_permanent else None


def _redirect(order: object) -> Redirect | None:
    if not isinstance(order, Mapping):
        return None
    host, port = order.get("host"), _number(order.get("port", 25))
    if not isinstance(host, str) or not host or port is None or not 0 < port < 65_536:
        return None
    try:
        return Redirect(host, int(port), TlsWish(order.get("tls") or TlsWish.OPPORTUNISTIC))
    except ValueError:
        return None


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0.0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
