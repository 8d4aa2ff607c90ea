"""A search for messages, as REST and the dashboard ask for it: every value checked or refused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.mail.identifiers import id_time
from postroad_common.schemas.events import OWN_MAIL
from postroad_common.store.messages import HANDED_IN, RANKS, Criteria, MessageRecord, Messages
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.moments import read_moment

SOURCES = (*HANDED_IN, *OWN_MAIL)
TEXTS = (
    "recipient", "tag", "state", "envelope", "sender", "submission", "template", "login", "subject",
)  # fmt: skip
SWITCHES = ("opened", "clicked", "complained", "test")
NAMES = (*TEXTS, *SWITCHES, "source", "start", "end")
_DAY = 86_400.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}


def read_criteria(fields: Mapping[str, str | None], *, whole_days: bool = False) -> Criteria:
    """Return what the fields ask for; a field that is missing or empty asks for nothing.

    With `whole_days` an `end` that is a date is the last day that is searched, as people mean it;
    without, it is its first moment, which is not searched any more.

    Raises:
        ApiError: 400, naming the field.
    """
    given = {name: text for name, text in fields.items() if text}
    state, source, recipient = (given.get(name) for name in ("state", "source", "recipient"))
    if state and state not in RANKS:
        raise bad_field("state", f"One of {', '.join(RANKS)}.")
    if source and source not in SOURCES:
        raise bad_field("source", f"One of {', '.join(SOURCES)}.")
    if recipient:
        _check_recipient(recipient)
    end = read_moment("end", given.get("end"))
    if end is not None and whole_days and _DATE.fullmatch(given["end"]):
        end += _DAY
    opened, clicked, complained, test = (
        _read_switch(name, given.get(name, "")) for name in SWITCHES
    )
    return Criteria(
        recipient=recipient,
        tag=given.get("tag"),
        state=state,
        envelope=given.get("envelope"),
        sender=given.get("sender"),
        submission=given.get("submission"),
        template=given.get("template"),
        login=given.get("login"),
        subject=given.get("subject"),
        opened=opened,
        clicked=clicked,
        complained=complained,
        test=test,
        sources=HANDED_IN if not source else (source,),
        start=read_moment("start", given.get("start")),
        end=end,
    )


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of what a search finds. `position` is the id it goes on before, None at its end.

    `reached` (Unix seconds) is how far back it has looked where it stopped before it was full.
    """

    records: Sequence[MessageRecord]
    position: str | None
    reached: float | None


async def look(
    messages: Messages, account: str, criteria: Criteria, *, before: str | None, page: int
) -> FoundPage:
    """Return a page, or what of it is found within the time of a search."""
    found = await messages.look(account, criteria, before=before, limit=page + 1)
    if len(found.records) > page:
        return FoundPage(found.records[:page], found.records[page - 1].id, None)
    reached = None if found.position is None else id_time(found.position)
    return FoundPage(found.records, found.position, reached)


def _check_recipient(text: str) -> None:
    try:
        parse_mailbox(f"x{text.strip()}" if text.startswith("@") else text.strip(), smtputf8=True)
    except AddressError as error:
        raise bad_field("recipient", f"Give an address, or @domain: {error}.") from None


def _read_switch(name: str, text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise bad_field(name, "Give true or false.")
    return text.lower() in _TRUE
