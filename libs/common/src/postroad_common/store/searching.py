"""How messages are found: by the terms of each, all in one index, and by the time in their ids.

A term is a letter and a text: to whom, which domain, from whom, by which login, with which tags,
that it is a test, and the words of the subject. Whatever is searched for, the index gives the
messages with that term newest first, so a page costs about as many reads as it has lines. What is
searched for beside that is looked for in those messages, a bounded number at a time (`slices`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from postroad_common.mail.address import AddressError, domain_of, parse_mailbox
from postroad_common.mail.identifiers import id_at, id_time, is_id
from postroad_common.schemas.events import OWN_MAIL
from postroad_common.store.access import Document

RANKS = {
    "accepted": 10,
    "transforming": 15,
    "queued": 20,
    "deferred": 30,
    "suppressed": 40,
    "cancelled": 45,
    "tested": 47,
    "expired": 50,
    "failed": 60,
    "delivered": 70,
    "bounced": 80,
}
UNUSUAL = tuple(rank for state, rank in RANKS.items() if state not in {"delivered", "tested"})
"""The states that are few and looked for: they have an index. Tests have a term."""
HANDED_IN = ("smtp", "rest")
"""The sources of mail that applications handed in; Postroad's own is one of `OWN_MAIL`."""
MAX_WORDS = 8
_TEST = "x:test"
_TERMS = {"$ifNull": ["$terms", []]}
_TOGETHER = 60.0  # seconds within which the messages of one submission get their ids
_WORD = re.compile(r"\w{2,24}")


def terms_of(facts: Mapping[str, Any]) -> list[str]:
    """Return the terms by which a message with these facts is found."""
    recipient = str(facts.get("recipient") or "").lower()
    terms = [f"a:{recipient}", f"d:{domain_of(recipient)}"] if recipient else []
    if envelope := facts.get("envelope"):
        terms.append(f"e:{envelope.lower()}")
    if sender := facts.get("sender"):
        terms.append(f"f:{sender.lower()}")
    if login := facts.get("credential"):
        terms.append(f"l:{login}")
    if facts.get("test"):
        terms.append(_TEST)
    terms += [f"t:{tag}" for tag in facts.get("tags") or ()]
    terms += [f"s:{word}" for word in words_of(str(facts.get("subject") or ""))]
    return terms


def words_of(subject: str) -> list[str]:
    """Return the words of a subject that are searched for: the first eight, in lower case."""
    return list(dict.fromkeys(_WORD.findall(subject.lower())))[:MAX_WORDS]


IndexKeys: TypeAlias = Sequence[tuple[str, int]]
BY_ACCOUNT: IndexKeys = [("account", 1), ("_id", -1)]
BY_TERM: IndexKeys = [("account", 1), ("terms", 1), ("_id", -1)]
BY_STATE: IndexKeys = [("account", 1), ("rank", 1), ("_id", -1), ("source", 1)]
BY_SOURCE: IndexKeys = [("account", 1), ("source", 1), ("_id", -1)]
BY_TEMPLATE: IndexKeys = [("template", 1), ("_id", -1)]
REACTIONS = ("opens", "clicks", "complained")


def by_reaction(name: str) -> IndexKeys:
    """Return the keys of the index of messages with a reaction."""
    return [("account", 1), ("_id", -1), (name, 1)]


@dataclass(frozen=True, slots=True)
class AccessPath:
    """An index, and the part of a search by which it gives messages newest first."""

    query: Document
    index: IndexKeys | None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is searched for; all of it must be so. Times are Unix seconds, `end` exclusive.

    `recipient` is an address in any case, or `@domain`; `sender` that of the From field; `subject`
    some of its words.
    """

    recipient: str | None = None
    tag: str | None = None
    state: str | None = None
    envelope: str | None = None
    sender: str | None = None
    submission: str | None = None
    template: str | None = None
    login: str | None = None
    subject: str | None = None
    opened: bool = False
    clicked: bool = False
    complained: bool = False
    test: bool = False
    sources: Sequence[str] = HANDED_IN
    start: float | None = None
    end: float | None = None

    def query(
        self, account: str, before: str | None = None, path: AccessPath | None = None
    ) -> Document:
        """Return the query for the messages of `account`, those before an id where one is given.

        With a `path`, it is one that the database answers in no other way than by that.
        """
        query: Document = {"account": account, "source": {"$in": list(self.sources)}}
        terms = self._terms()
        if path is not None:
            first = path.query.get("terms")
            if first is not None:
                query["terms"] = first
            rest = [{"$in": [{"$literal": term}, _TERMS]} for term in terms if term != first]
            if rest:
                query["$expr"] = {"$and": rest}
        elif len(terms) == 1:
            query["terms"] = terms[0]
        elif terms:
            query["terms"] = {"$all": terms}
        if self.state is not None:
            query["rank"] = RANKS.get(self.state, -1)
        for name in ("submission", "template"):
            if (value := getattr(self, name)) is not None:
                query[name] = value
        for name, number in (("opened", "opens"), ("clicked", "clicks")):
            if getattr(self, name):
                query[number] = {"$gt": 0}
        if self.complained:
            query["complained"] = True
        if span := self.span(before):
            query["_id"] = span
        return query

    def access_paths(self, account: str) -> list[AccessPath]:
        """Return the indexes by which the messages can be found; there is one at least."""
        mine = {"account": account}
        paths = [AccessPath({**mine, "terms": term}, BY_TERM) for term in self._terms()]
        if self.template is not None:
            paths.append(AccessPath({"template": self.template}, BY_TEMPLATE))
        if len(self.sources) == 1 and self.sources[0] in OWN_MAIL:
            paths.append(AccessPath({**mine, "source": self.sources[0]}, BY_SOURCE))
        if RANKS.get(self.state or "") in UNUSUAL:
            paths.append(AccessPath({**mine, "rank": RANKS[self.state or ""]}, BY_STATE))
        asked = (self.opened, self.clicked, self.complained)
        for name, wanted in zip(REACTIONS, asked, strict=True):
            if wanted:
                value: object = True if name == "complained" else {"$gt": 0}
                paths.append(AccessPath({**mine, name: value}, by_reaction(name)))
        return paths or [AccessPath(mine, BY_ACCOUNT)]

    def counting_path(self, account: str) -> AccessPath | None:
        """Return the index that has an entry for each message that is found, if there is one.

        And for mail of our own perhaps, but for none whose record is not complete yet.
        """
        (path, *others) = self.access_paths(account)
        beside = self.query(account).keys() - path.query.keys() - {"_id", "source"}
        whole = not others and not beside and set(self.sources) == set(HANDED_IN)
        return path if whole and path.index in (BY_TERM, BY_STATE) else None

    def _terms(self) -> list[str]:
        """Return the terms, those that are the rarest first: the index begins with the first."""
        terms: list[str] = []
        if self.recipient is not None and not self.recipient.startswith("@"):
            terms.append(f"a:{_address(self.recipient)}")
        if self.envelope is not None:
            terms.append(f"e:{_address(self.envelope)}")
        if self.sender is not None:
            terms.append(f"f:{_address(self.sender)}")
        if self.subject is not None:
            words = sorted(words_of(self.subject), key=len, reverse=True)
            terms += [f"s:{word}" for word in words] or ["s:"]
        if self.tag is not None:
            terms.append(f"t:{self.tag}")
        if self.recipient is not None and self.recipient.startswith("@"):
            terms.append(f"d:{domain_of(_address(f'x{self.recipient}'))}")
        if self.test or self.state == "tested":
            terms.append(_TEST)
        if self.login is not None:
            terms.append(f"l:{self.login}")
        return terms

    def span(self, before: str | None) -> dict[str, str]:
        """Return the bounds of the ids, which begin with the time."""
        lower = [] if self.start is None else [id_at(max(0.0, self.start))]
        upper = [] if self.end is None else [id_at(self.end)]
        if self.submission is not None and is_id(self.submission):
            accepted = id_time(self.submission)
            lower.append(id_at(max(0.0, accepted - 1.0)))
            upper.append(id_at(accepted + _TOGETHER))
        if before is not None:
            upper.append(before)
        span = {"$gte": max(lower)} if lower else {}
        return span | {"$lt": min(upper)} if upper else span


def _address(text: str) -> str:
    """Return the address as terms have it: in lower case, the domain in A-labels."""
    try:
        return parse_mailbox(text.strip(), smtputf8=True).text.lower()
    except AddressError:
        return text.strip().lower()
