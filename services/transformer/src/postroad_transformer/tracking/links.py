"""Click tracking: which links of an HTML text lead through the tracking host.

Only the value of `href` in `<a>` and `<area>` changes. Left as they are: everything but http and
https with a host; links opted out by `data-track="off"`; links to unsubscribe; links that lead to
the tracking host already; what preventscam protects; and whatever stands in comments, conditional
comments for Outlook among them. `<form action>` is left alone because a redirect turns its POST
into a GET and loses the fields.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from postroad_common.tokens import LinkKind, tail, tails
from postroad_transformer.html.attributes import Attributes
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.html.urls import target_of
from postroad_transformer.segments import Hole, Url
from postroad_transformer.tracking.scam import shows_address

MAX_TARGET = 3_000  # octets; the tracked URL is a third longer and stays below 4,096 + its base
MAX_LINKS = 2_000  # tracked of one mail, and as many images: each costs a token per recipient
MAX_NUMBER = (1 << 24) - 1  # what a token holds
_REMEMBERED = 200  # characters of visible text up to which the look of a link is remembered
MAX_FRAGMENT = 20_000  # characters of HTML inside one link that are looked at

_LINKS = frozenset({"<a", "<area"})
LINK_ENDS = frozenset({"<a", "</a"})
_OFF = frozenset({"off", "false", "no"})
# In lower case, anywhere in the URL or the visible text.
_UNSUBSCRIBE_URL = (
    "unsub",
    "optout",
    "opt-out",
    "opt_out",
    "listremove",
    "abmeld",
    "afmeld",
    "desabonn",
    "desinscri",
    "desuscri",
    "disiscri",
    "uitschrijv",
)
_UNSUBSCRIBE_TEXT = (
    "abbestellen",
    "abmelden",
    "afmeld",
    "annulla iscrizione",
    "anuluj subskrypcj",
    "avmeld",
    "avprenumerera",
    "avregistrera",
    "berhenti berlangganan",
    "cancelar la suscripci",
    "cancelar suscripci",
    "cancella iscrizione",
    "darme de baja",
    "darse de baja",
    "desabonner",
    "descadastr",
    "desinscrire",
    "desuscribir",
    "dezabon",
    "disiscriv",
    "leiratkoz",
    "opt-out",
    "peruuta tilaus",
    "to opt out",
    "uitschrijven",
    "unsubscribe",
    "wypisz",
)
# The same with characters beyond ASCII, which most texts need not be searched for.
_UNSUBSCRIBE_TEXT_BEYOND_ASCII = (
    "désabonner",
    "désinscrire",
    "cancelar a inscrição",
    "cancelar inscrição",
    "abonelikten ç",
    "hủy đăng ký",
    "odhlásit odběr",
    "odhlásit z odběru",
    "απεγγραφή",
    "отказаться от рассылки",
    "отписаться",
    "відписатися",
    "إلغاء الاشتراك",
    "取消訂閱",
    "取消订阅",
    "登録解除",
    "購読解除",
    "退訂",
    "退订",
    "配信停止",
    "配信解除",
    "구독 취소",
    "수신 거부",
    "수신거부",
)


class LinkTraits(NamedTuple):
    """What the tag of a link or an image says about tracking it."""

    opted_out: bool
    unsubscribes: bool


_NO_TRAITS = LinkTraits(opted_out=False, unsubscribes=False)


def traits_of(found: Attributes) -> LinkTraits:
    """Return what a tag with these attributes says."""
    names = found.names
    if "data-track" not in names and "rel" not in names:
        return _NO_TRAITS
    off = (found.text("data-track") or "").strip().lower() in _OFF
    return LinkTraits(off, "unsubscribe" in (found.text("rel") or "").lower().split())


@dataclass(frozen=True)
class LinkRules:
    """What decides on the links of one message.

    `base_url` is the tracking host's, without a slash at its end; `unsubscribe` are the URLs of
    the List-Unsubscribe field.
    """

    base_url: str
    preventscam: bool = False
    unsubscribe: frozenset[str] = frozenset()

    def is_own(self, target: str) -> bool:
        """Whether `target` leads to the tracking host already."""
        return target[: len(self._prefix)].lower() == self._prefix

    @functools.cached_property
    def _prefix(self) -> str:
        return self.base_url.lower() + "/"

    def tracked(self, kind: LinkKind, number: int, target: str) -> Url:
        """Return the URL that leads to `target` by way of the tracking host."""
        octets, end = _url_parts(kind, target)
        return self.base_url + "/", Hole(kind, number, octets), end

    def tracked_all(
        self, kind: LinkKind, numbers: Sequence[int], targets: Sequence[str]
    ) -> tuple[str, list[Hole], list[str]]:
        """Return what `tracked` does for many, at least one: the base, which is the same."""
        octets = "\n".join(targets).encode("ascii").split(b"\n")
        holes = list(map(Hole, repeat(kind), numbers, octets))
        return self.base_url + "/", holes, tails(kind, octets)

    def refusal(self, traits: LinkTraits, target: str, visible: str) -> str | None:
        """Why the link to `target` is left alone, in one word; None if it is tracked."""
        if traits.opted_out:
            return "opted_out"
        if self.is_own(target):
            return "own"
        if len(target) > MAX_TARGET:
            return "too_long"
        if traits.unsubscribes or target in self.unsubscribe:
            return "unsubscribe"
        look = _look if len(visible) < _REMEMBERED else _look.__wrapped__
        return look(target, visible, preventscam=self.preventscam)

    def refusals(
        self, traits: Sequence[LinkTraits], targets: Sequence[str], visible: Sequence[str]
    ) -> list[str | None]:
        """Return what `refusal` does for each of many links, together cheaper."""
        are_foreign = self._are_foreign(targets)
        unsubscribe = _which_have(targets, _UNSUBSCRIBE_URL)
        unsubscribe |= _which_say_so(visible)
        found: list[str | None] = []
        for at, (trait, target, text) in enumerate(zip(traits, targets, visible, strict=True)):
            is_usual = are_foreign and trait == _NO_TRAITS and at not in unsubscribe
            if is_usual and target not in self.unsubscribe:
                is_shown = self.preventscam and shows_address(text, target)
                found.append("preventscam" if is_shown else None)
            else:
                found.append(self.refusal(trait, target, text))
        return found

    def image_refusals(
        self, traits: Sequence[LinkTraits], targets: Sequence[str]
    ) -> list[str | None]:
        """Return what `image_refusal` does for each of many images, together cheaper."""
        if traits.count(_NO_TRAITS) == len(traits) and self._are_foreign(targets):
            return [None] * len(targets)
        return [self.image_refusal(*image) for image in zip(traits, targets, strict=True)]

    def _are_foreign(self, targets: Sequence[str]) -> bool:
        """Whether it is sure that none of `targets` is one of ours, or too long."""
        text = "\n".join(targets)
        is_short = len(text) <= MAX_TARGET or max(map(len, targets)) <= MAX_TARGET
        return is_short and self._prefix not in text.lower()

    def image_refusal(self, traits: LinkTraits, target: str) -> str | None:
        """As `refusal` for an image, of which nothing but its own tag counts."""
        if traits.opted_out:
            return "opted_out"
        if self.is_own(target):
            return "own"
        return "too_long" if len(target) > MAX_TARGET else None


@functools.lru_cache(maxsize=1024)
def _url_parts(kind: LinkKind, target: str) -> tuple[bytes, str]:
    """Return the octets of the target and the end of its URL: mails of one mailing share them."""
    octets = target.encode("ascii")
    return octets, tail(kind, octets)


@functools.lru_cache(maxsize=1024)
def _look(target: str, visible: str, *, preventscam: bool) -> str | None:
    """Return why a link is left alone by how it looks."""
    if says_unsubscribe(target, visible):
        return "unsubscribe"
    return "preventscam" if preventscam and shows_address(visible, target) else None


def says_unsubscribe(target: str, visible: str) -> bool:
    """Whether a URL, or what readers see of it, has a word for it."""
    return bool(_which_have([target], _UNSUBSCRIBE_URL) or _which_say_so([visible]))


def _which_say_so(visible: Sequence[str]) -> set[int]:
    """Return the numbers of those visible texts that speak of unsubscribing."""
    return {
        at
        for at, text in enumerate(visible)
        if (_says_so if len(text) < _REMEMBERED else _says_so.__wrapped__)(text)
    }


@functools.lru_cache(maxsize=4096)
def _says_so(text: str) -> bool:
    """Whether a visible text speaks of unsubscribing; links of a mailing have the same texts."""
    lowered = text.lower()
    if any(word in lowered for word in _UNSUBSCRIBE_TEXT):
        return True
    return not lowered.isascii() and any(word in lowered for word in _UNSUBSCRIBE_TEXT_BEYOND_ASCII)


def _which_have(texts: Sequence[str], words: Sequence[str]) -> set[int]:
    """Return the numbers of those texts that have one of `words`; one look at all spares many."""
    joined = "\0".join(texts).lower()
    if joined.count("\0") >= len(texts) > 1:
        return {at for at, text in enumerate(texts) if _which_have([text], words)}
    found: set[int] = set()
    for word in words:
        number = seen = 0
        at = joined.find(word)
        while at >= 0:
            number += joined.count("\0", seen, at)
            found.add(number)
            seen = joined.find("\0", at)
            at = joined.find(word, seen) if seen >= 0 else -1
    return found


def track_links(page: HtmlPage, rules: LinkRules, first: int = 0) -> tuple[Counter[str], int]:
    """Change the links of `page`; how many ended how, and the next free number.

    Every `<a href>` and `<area href>` has a number of its own, tracked or not, from `first` on.
    """
    counts: Counter[str] = Counter()
    number = first
    tags = page.find(_LINKS)
    for index, tag in enumerate(tags):
        if number >= MAX_LINKS:
            counts["too_many"] = len(tags) - index
            break
        found = page.attributes(tag)
        href = found.text("href")
        if href is None:
            continue
        target = target_of(href)
        if target is not None:
            is_area = page.names[tag] == "<area"
            visible = "" if is_area else page.visible(tag, LINK_ENDS, MAX_FRAGMENT)
            refusal = rules.refusal(traits_of(found), target, visible)
            if refusal is None:
                page.put_url(tag, "href", rules.tracked(LinkKind.CLICK, number, target))
            counts[refusal or "tracked"] += 1
        number += 1
    return counts, number
