"""Which parts of all mail an event counts for: a login's, a sender domain's, a provider's, a tag's.

What an event is a part of need not be the same when its batch is repeated: a document takes the
batch whole and once.
"""

from collections.abc import Iterable, Iterator

from postroad_common.caching import Cache
from postroad_common.mail.address import domain_of
from postroad_common.schemas.eventdata import OTHER_PROVIDER, AttemptData
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.rollupparts import (
    DOMAIN,
    LOGIN,
    OTHER_NAME,
    PROVIDER,
    TAG,
    MailPart,
)
from postroad_feedback.message_cache import MessageInfo

MOST = 200
"""Parts of each kind that an account has on one day; what further ones do is counted together."""
MOST_TAGS = 2_000
"""Tags that an account has on one day, each in a document: what further ones do is counted in one.

Which tags these are, each process says for itself, and forgets when it ends: where a batch is
repeated by another one, what is counted together may be counted twice, and no tag is.
"""
_REMEMBERED = 20_000
_DAY = 86_400
NEVER_SENT = frozenset(
    {EventName.ACCEPTED, EventName.SUPPRESSED, EventName.CANCELLED, EventName.TESTED}
)
"""Of these it is not known who would have received: they count for no provider."""

Names = tuple[str, str, str]
"""Login, domain and provider; empty where there is none."""


def names_of(event: Event, info: MessageInfo) -> Names:
    """Return the parts that the event counts for."""
    provider = ""
    if event.event not in NEVER_SENT:
        told = event.data.provider if isinstance(event.data, AttemptData) else info.provider
        provider = told or OTHER_PROVIDER
    return info.login, domain_of(info.sender) or domain_of(info.envelope), provider


class PartLimit:
    """Bounds how many parts the document of a day has, and tags a day. One per process."""

    def __init__(self, most: int = MOST, most_tags: int = MOST_TAGS) -> None:
        self._most = most
        self._most_tags = most_tags
        self._known: Cache[tuple[str, int, str], set[str]] = Cache(_REMEMBERED)

    def parts(self, account: str, moment: int, names: Names) -> Iterator[MailPart]:
        """Yield the parts that have names, at a moment (Unix seconds)."""
        for by, name in zip((LOGIN, DOMAIN, PROVIDER), names, strict=True):
            if name:
                yield MailPart(by, self._bounded((account, moment // _DAY, by), name, self._most))

    def tag_parts(self, account: str, moment: int, tags: Iterable[str]) -> list[MailPart]:
        """Return the parts of a day and its hours for these tags, each once."""
        key = account, moment // _DAY, TAG
        names = (self._bounded(key, tag, self._most) for tag in tags)
        return [MailPart(TAG, name) for name in dict.fromkeys(names)]

    def tags_of_day(self, account: str, moment: int, tags: Iterable[str]) -> list[str]:
        """Return the tags whose documents count these tags on a day, each once."""
        key = account, moment // _DAY, "document"
        return list(dict.fromkeys(self._bounded(key, tag, self._most_tags) for tag in tags))

    def _bounded(self, key: tuple[str, int, str], name: str, most: int) -> str:
        known = self._known.get(key)
        if known is None:
            self._known.put(key, {name})
        elif name not in known:
            if len(known) >= most:
                return OTHER_NAME
            known.add(name)
        return name
