"""A sample of each event, for the test of a webhook: in the shape of the real ones.

`data.test` is true and the message does not exist, so an application can leave it alone.
"""

from collections.abc import Mapping
from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName

RECIPIENT = "ann@example.com"
_REFUSED = {"code": 550, "enhanced": "5.1.1", "reply": "550 5.1.1 No such user"}
_REPORT = {"source": "dsn", "enhanced": "5.1.1", "diagnostic": "smtp; 550 5.1.1 No such user"}
_PLACE = {"attempt": 0, "host": "mx.example.com", "ip": "192.0.2.25", "tls": "TLSv1.3"}
_VISIT = {"ip": "192.0.2.80", "machine": False}
_MAIL = {"sender": "shop@example.org", "subject": "Your order", "size": 1200}
FACTS: Mapping[EventName, Mapping[str, Any]] = {
    EventName.ACCEPTED: _MAIL,
    EventName.DEFERRED: {**_PLACE, "code": 451, "enhanced": "4.7.1", "reply": "451 4.7.1 Later"},
    EventName.DELIVERED: {**_PLACE, "code": 250, "enhanced": "2.0.0", "reply": "250 2.0.0 Ok"},
    EventName.FAILED: {**_PLACE, **_REFUSED},
    EventName.BOUNCED: {**_REPORT, "class": "no-such-user", "hard": True, "code": 550},
    EventName.RESPONSE: {"source": "auto-reply", "detail": "Out of office"},
    EventName.OPENED: _VISIT,
    EventName.CLICKED: {**_VISIT, "url": "https://example.org/order", "link": 1},
    EventName.COMPLAINED: {"source": "arf", "type": "abuse"},
    EventName.SUPPRESSED: {**_MAIL, "reason": "hard bounce"},
}


def sample(name: str, now: float) -> dict[str, Any]:
    """Return the `data` of a call that tells of the event `name`."""
    facts = next((facts for event, facts in FACTS.items() if event == name), {})
    return {
        **facts,
        "id": new_id(now),
        "event_id": new_id(now),
        "recipient": RECIPIENT,
        "envelope": "shop@example.org",
        "tags": ["test"],
        "metadata": {},
        "time": now,
        "test": True,
    }
