"""What a reader does with simulated mail: opens it, and follows its first link.

As with real mail this is known only where the mail is tracked. The links are those of the message
as it was sent; the tracker is not asked.
"""

import re

from postroad_common.mail.mime import read
from postroad_common.schemas.events import Event, EventName, happened
from postroad_common.tokens import LinkKind, LinkToken, read_unverified

MAX_HTML_PARTS = 4
MAX_HTML = 1024 * 1024
"""Octets of a part that are searched for links."""
MAX_LINKS = 1000
USER_AGENT = "Postroad-Simulator/1"

_PATH = re.compile(r"/[coih][A-Za-z0-9_-]{36}(?:\.gif|/[A-Za-z0-9_-]{1,8000}+)?")
_IMAGES = (LinkKind.OPEN, LinkKind.IMAGE, LinkKind.HOSTED)


def visits_of(
    raw: bytes, message_id: str, account: str, now: float, *, clicks: bool
) -> list[Event]:
    """Return the opening, and with `clicks` the click, of one message; `now` in Unix seconds.

    The events are the same whenever this is done again, so that they count once.
    """
    links = find_links(raw, message_id)
    image = next((link for link in links if link.kind in _IMAGES), None)
    target = next((link for link in links if link.kind is LinkKind.CLICK), None)
    events = []
    if image is not None:
        events.append(_visit(EventName.OPENED, image, account, now))
    if clicks and target is not None:
        events.append(_visit(EventName.CLICKED, target, account, now))
    return events


def find_links(raw: bytes, message_id: str) -> list[LinkToken]:
    """Return the tracked links of this message in its HTML, in their order; bounded work."""
    parts = [part for part in read(raw).walk() if part.media_type == "text/html"]
    found: list[LinkToken] = []
    for part in parts[:MAX_HTML_PARTS]:
        for match in _PATH.finditer(part.content(MAX_HTML).decode("latin-1")):
            token = read_unverified(match[0])
            if token is not None and token.message_id == message_id:
                found.append(token)
                if len(found) >= MAX_LINKS:
                    return found
    return found


def _visit(name: EventName, link: LinkToken, account: str, now: float) -> Event:
    data: dict[str, object] = {"machine": False}
    if link.target is not None and link.kind is not LinkKind.HOSTED:
        data["url"] = link.target.decode("utf-8", "replace")[:2048]
    if link.kind is not LinkKind.OPEN:
        data["link"] = link.number
    data |= {"user_agent": USER_AGENT, "simulated": True}
    message = link.message_id
    event_id = f"{message}.{name}.simulated"
    return happened(name, message, now, data, account=account, event_id=event_id)
