"""Who is told: NOTIFY (RFC 3461 section 4.1) and the forwarding switch of the login.

With bounce tracking off Postroad is an ordinary relay: it reports to the envelope sender what
NOTIFY asks for. With bounce tracking on, the same reports (and returned mail) go to the envelope
sender only if the login has forwarding switched on.
"""

from collections.abc import Collection

from postroad_bounce_processor.understanding.record import ReturnKind, Understanding
from postroad_common.mail.address import domain_of

_WISH = {
    "failed": "failure",
    "expired": "failure",
    "delayed": "delay",
    "delivered": "success",
    "relayed": "success",
    "expanded": "success",
}
_WISH_OF_KIND = {
    ReturnKind.BOUNCE: "failure",
    ReturnKind.DELAYED: "delay",
    ReturnKind.SUCCESS: "success",
}


def wants_report(notify: Collection[str], outcome: str) -> bool:
    """Tell whether a recipient's NOTIFY asks for a report of this outcome.

    Without NOTIFY failures are reported and nothing else.
    """
    return _WISH[outcome] in notify if notify else _WISH[outcome] == "failure"


def wants_return(notify: Collection[str], understanding: Understanding) -> bool:
    """Tell whether a returned mail passes the recipient's NOTIFY.

    NOTIFY speaks of delivery status notifications: those in the standard form are filtered by it.
    Whatever else comes back (out-of-office replies, odd formats, complaints) is passed on.
    """
    if not understanding.standard:
        return True
    wish = _WISH_OF_KIND[understanding.kind]
    return wish in notify if notify else wish == "failure"


def can_be_told(envelope: str, kind: str, bounce_domain: str) -> bool:
    """Tell whether a report about a message may be sent at all.

    Never to the null sender, never about a report (RFC 5321 section 6.1), and never to a bounce
    address of our own, which would come straight back.
    """
    return bool(envelope) and kind == "mail" and domain_of(envelope) != bounce_domain
