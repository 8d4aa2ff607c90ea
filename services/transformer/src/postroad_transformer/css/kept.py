"""Rules that work in the style element only: what they need to win as they did before inlining.

A style attribute wins over every rule. So a rule of a media query, or for a state such as `:hover`,
would lose where it won before, unless the author has marked it important. It is marked so here,
where it can be told that nothing else changes: where, on every element that it may match, it comes
before all that is inlined of the same property, and the author's own attribute has none of it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from postroad_transformer.css.selectors import Specificity
from postroad_transformer.css.sheet import Declaration, StyleRule
from postroad_transformer.css.shorthands import overlap, touched

MAX_STEPS = 100_000  # of comparing declarations; beyond it all stay as they are
MAX_RIVALS = 200  # selectors that are matched for nothing else
_PROPERTY = re.compile(r"([\w-]++)[ \t\r\n\f]*+:")

Rank = tuple[Specificity, int]
"""Specificity and order of a rule: of two declarations the one of higher rank wins."""


class Match(NamedTuple):
    """A rule that elements match. `inlined`: what it declares is in their attributes."""

    rank: Rank
    rule: StyleRule
    inlined: bool


class ElementGroup(NamedTuple):
    """Elements that match the same rules, and whose own styles have the same properties.

    `kept` are the matches of rules that are not inlined, or not for all of their selectors.
    """

    inlined: Sequence[Match]
    kept: Sequence[Match]
    own: frozenset[str]


class Place(NamedTuple):
    """A declaration: the order of its rule, and the piece of the sheet that ends it."""

    order: int
    end: int


def is_kept(rule: StyleRule) -> bool:
    """Whether `rule`, or one of its selectors, works in the style element only."""
    return not (rule.always and all(selector.inlined for selector in rule.selectors))


def find_rivals(rules: Sequence[StyleRule]) -> frozenset[int]:
    """Return which of `rules` could lose to what is inlined, and which decide on that: mostly none.

    These are the kept ones that declare what an inlined one does, if any of that is not marked
    important. None if it would take too many selectors to tell.
    """
    inlined = frozenset[str]().union(
        *(
            touched(declaration.name)
            for rule in rules
            if rule.always and any(selector.inlined for selector in rule.selectors)
            for declaration in rule.declarations
        )
    )
    rivals: set[int] = set()
    is_any_weak = False
    selectors = 0
    for order, rule in enumerate(rules):
        if is_kept(rule):
            shared = [
                each for each in rule.declarations if not inlined.isdisjoint(touched(each.name))
            ]
            if shared:
                rivals.add(order)
                selectors += len(rule.selectors)
                is_any_weak = is_any_weak or not all(each.important for each in shared)
    return frozenset(rivals) if is_any_weak and selectors <= MAX_RIVALS else frozenset()


def properties_of(style: str) -> frozenset[str]:
    """Return the properties that a style attribute may declare."""
    return frozenset(
        name if name.startswith("--") else name.lower() for name in _PROPERTY.findall(style)
    )


class _Comparison:
    """Finds out which declarations need a mark, and which must not get one."""

    def __init__(self, unsure: Iterable[str]) -> None:
        self.unsure = frozenset(unsure)
        self.needed: set[Place] = set()
        self.barred: set[Place] = set()
        # What a declaration is followed by on some element, which has to be marked with it.
        self.followers: dict[Place, set[Place]] = {}
        self.steps = 0

    def compare(self, group: ElementGroup) -> None:
        by_name: dict[str, list[tuple[Match, Declaration]]] = {}
        for other in (*group.inlined, *group.kept):
            for theirs in other.rule.declarations:
                by_name.setdefault(theirs.name, []).append((other, theirs))
        for match in group.kept:
            for declaration in match.rule.declarations:
                if self.steps > MAX_STEPS:
                    return
                if not declaration.important:
                    self._compare_one(match, declaration, group.own, by_name)

    def _compare_one(
        self,
        match: Match,
        declaration: Declaration,
        own: frozenset[str],
        by_name: Mapping[str, Sequence[tuple[Match, Declaration]]],
    ) -> None:
        """Compare a kept declaration with all others of the same elements."""
        place = Place(match.rank[1], declaration.end)
        if (
            declaration.end < 0
            or declaration.name == "all"  # it sets what nobody has compared
            or any(overlap(declaration.name, name) for name in chain(own, self.unsure))
        ):
            self.barred.add(place)
        self.steps += len(own) + len(self.unsure) + len(by_name)
        for name, others in by_name.items():
            if not overlap(declaration.name, name):
                continue
            self.steps += len(others)
            for other, theirs in others:
                is_same = other.rank[1] == match.rank[1]
                if is_same and (other.inlined or theirs is declaration):
                    continue
                is_behind = (
                    0 <= theirs.end < declaration.end if is_same else other.rank < match.rank
                )
                if theirs.important:
                    if is_behind:
                        self.barred.add(place)
                elif not other.inlined:
                    if not is_behind:
                        follower = Place(other.rank[1], theirs.end)
                        self.followers.setdefault(place, set()).add(follower)
                elif not is_behind:
                    self.barred.add(place)
                elif not match.inlined:
                    self.needed.add(place)

    def settle(self) -> frozenset[Place]:
        """Return what is to be marked: with each declaration all that follow it, or none."""
        leaders: dict[Place, set[Place]] = {}
        for place, followers in self.followers.items():
            for follower in followers:
                leaders.setdefault(follower, set()).add(place)
        _spread(self.barred, leaders)
        self.needed -= self.barred
        _spread(self.needed, self.followers)
        return frozenset(self.needed - self.barred)


def _spread(places: set[Place], following: Mapping[Place, Iterable[Place]]) -> None:
    """Add to `places` all that follow from them."""
    waiting = list(places)
    while waiting:
        fresh = set(following.get(waiting.pop(), ())) - places
        places |= fresh
        waiting += fresh


def find_losers(groups: Iterable[ElementGroup], unsure: Iterable[str]) -> frozenset[Place]:
    """Return the declarations to be marked important.

    `unsure` are properties that are declared by rules of which it is not known what they match.
    """
    comparison = _Comparison(unsure)
    for group in groups:
        comparison.compare(group)
        if comparison.steps > MAX_STEPS:
            return frozenset()
    return comparison.settle()
