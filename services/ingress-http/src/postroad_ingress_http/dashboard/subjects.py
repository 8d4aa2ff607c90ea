"""Whose numbers a page shows: the choice, and what parts of the mail are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from postroad_common.store.credentials import Credentials
from postroad_common.store.rollupparts import DOMAIN, LOGIN, PROVIDER, TAG
from postroad_common.store.rollups import Rollups
from postroad_common.store.tokens import Tokens
from postroad_ingress_http.dashboard.periods import DAY, HOUR, Period
from postroad_ingress_http.history.statistics import KINDS, Subject

HEADINGS = {
    PROVIDER: "Receiving provider",
    LOGIN: "Login",
    DOMAIN: "Sender domain",
    TAG: "Tag",
}
"""By kind: what one of it is called."""
_LENGTH = 255
_SEPARATOR = ":"
_NAMED_SECONDS = 31 * DAY  # names are those of this time, which the list is of
_ALWAYS = {"dashboard": "Dashboard"}


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a list: `value` for the form, `label` for people."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """What of the mail may be looked at, by heading; `subject` is what is."""

    subject: Subject
    label: str
    groups: Mapping[str, Sequence[Option]]

    @property
    def query(self) -> str:
        """Return how the subject stands in an address, with the `&` before it."""
        subject = self.subject
        return f"&{urlencode({subject.kind: subject.name})}" if subject.kind else ""


def read_subject(query: Mapping[str, str], *, by_hour: bool) -> Subject:
    """Return what a query asks for: `tag=news`, or `of=tag:news` as the form has it.

    What there is not is all mail.
    """
    kind, _, name = query.get("of", "").partition(_SEPARATOR)
    for other in KINDS:
        if not name and query.get(other):
            kind, name = other, query[other]
    if kind not in KINDS:
        return Subject()
    return Subject.of(kind, name[:_LENGTH], by_hour=by_hour)


def days_of(period: Period) -> tuple[str, str]:
    """Return the first and the last counter of a period: days, or hours where it is by hour."""
    form = "%Y-%m-%dT%H" if period.step == HOUR else "%Y-%m-%d"
    moments = period.start, period.end - min(period.step, DAY)
    first, last = (f"{datetime.fromtimestamp(moment, UTC):{form}}" for moment in moments)
    return first, last


class Labels:
    """What logins and tokens are called."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {**names, **_ALWAYS}

    def of(self, kind: str, name: str) -> str:
        """Return what people call it."""
        if kind != LOGIN or not self._names.get(name):
            return name
        return self._names[name]


async def labels_of(account: str, credentials: Credentials, tokens: Tokens) -> Labels:
    """Return what the logins and tokens of an account are called."""
    return Labels(await credentials.names(account) | await tokens.names(account))


async def choices(
    account: str, rollups: Rollups, period: Period, subject: Subject,
    labels: Labels,
) -> Choices:  # fmt: skip
    """Return what there was lately in the period to choose from; `rollups` are those of days."""
    begin = max(period.start, period.end - _NAMED_SECONDS)
    first, last = (
        f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}" for moment in (begin, period.end - 1)
    )
    names: dict[str, list[str]] = dict(await rollups.part_names(account, first, last))
    names[TAG] = sorted(await rollups.by_tag.names(account, first))
    groups = {}
    for kind, heading in HEADINGS.items():
        found = list(names.get(kind, ()))
        if subject.kind == kind and subject.name not in found:
            found.insert(0, subject.name)
        options = [
            Option(
                f"{kind}{_SEPARATOR}{name}",
                labels.of(kind, name),
                (kind, name) == (subject.kind, subject.name),
            )
            for name in found
        ]
        if options:
            groups[heading] = sorted(options, key=lambda option: option.label.lower())
    return Choices(subject, labels.of(subject.kind, subject.name), groups)
