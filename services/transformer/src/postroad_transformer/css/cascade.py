"""The cascade: which declarations an element gets from the rules that match it, and in what order.

The engine only matches. It is fed one rule for each selector with a property of its own, `r0`,
`r1`, …; what it writes into `style` says which selectors an element matches, and from that the
declarations are put in order here: by specificity, then by place, important ones apart.

For rules that are not inlined and may lose to such as are (`kept`) it is fed `k0`, `k1`, … too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from postroad_common.caching import Cache
from postroad_transformer.css.kept import ElementGroup, Match, find_losers, find_rivals
from postroad_transformer.css.sheet import Declaration, Sheet, StyleRule, parse_sheet
from postroad_transformer.css.shorthands import RESETS, is_known_everywhere

MAX_REMEMBERED = 1 << 19  # characters of style sheets
_MARKER = re.compile(r"\br(\d+)\s*:")
_KEPT_MARKER = re.compile(r"\bk(\d+)\s*:")


class Declared(NamedTuple):
    """The declarations of one element: `normal` before its own style, `important` after it.

    The important ones are without their mark, or `!important` in a media query of the kept style
    element could no longer win.
    """

    normal: str
    important: str
    attribute: str
    """Both, as a whole attribute for an element without a style of its own."""


class Cascade:
    """The rules of all sheets of a page. `markers` is the sheet for the engine."""

    def __init__(self, sheets: Sequence[Sheet]) -> None:
        rules: list[StyleRule] = []
        self._sheet_of: list[int] = []
        for number, sheet in enumerate(sheets):
            found = parse_sheet(sheet.css)
            rules += found if sheet.always else [rule._replace(always=False) for rule in found]
            self._sheet_of += [number] * len(found)
        rivals = find_rivals(rules)
        self._unsure = frozenset(
            declaration.name
            for order in rivals
            if any(selector.stateless is None for selector in rules[order].selectors)
            for declaration in rules[order].declarations
        )
        self._matched: list[tuple[tuple[int, int, int], int, StyleRule]] = []
        self._kept: list[Match] = []
        lines: list[str] = []
        looks_at: set[str] = set()
        for order, rule in enumerate(rules):
            for selector in rule.selectors:
                inlined = rule.always and selector.inlined
                if inlined:
                    lines.append(f"{selector.text}{{r{len(self._matched)}:0}}")
                    self._matched.append((selector.specificity, order, rule))
                    looks_at |= selector.looks_at
                if order in rivals and selector.stateless:
                    lines.append(f"{selector.stateless}{{k{len(self._kept)}:0}}")
                    self._kept.append(Match((selector.specificity, order), rule, inlined))
                    looks_at |= selector.looks_at
        self.markers = "\n".join(lines)
        self.looks_at = frozenset(looks_at)
        """The attributes that selectors look at, in lower case; `:empty` among them."""
        self.size = sum(len(sheet.css) for sheet in sheets) + 1_000
        """About how many characters it takes to remember."""
        self._styles: Cache[str, Declared] = Cache(32 * self.size, weigh=_size)

        self._losers: Cache[frozenset[tuple[str, frozenset[str]]], Mapping[int, Sequence[int]]]
        self._losers = Cache(32)

    def __len__(self) -> int:
        """Count the selectors."""
        return len(self._matched) + len(self._kept)

    @property
    def has_rivals(self) -> bool:
        """Whether rules that are not inlined may lose to such as are."""
        return bool(self._kept)

    def losers(self, groups: frozenset[tuple[str, frozenset[str]]]) -> Mapping[int, Sequence[int]]:
        """Return where declarations end that are to be marked important, by number of the sheet.

        `groups` are the markers that the engine wrote into elements, with the properties of the
        elements' own styles.
        """
        losers = self._losers.get(groups)
        if losers is None:
            found: dict[int, list[int]] = {}
            for place in sorted(find_losers(map(self._group, groups), self._unsure)):
                found.setdefault(self._sheet_of[place.order], []).append(place.end)
            losers = found
            self._losers.put(groups, losers)
        return losers

    def _group(self, marked: tuple[str, frozenset[str]]) -> ElementGroup:
        markers, own = marked
        inlined = []
        for number in map(int, _MARKER.findall(markers)):
            specificity, order, rule = self._matched[number]
            inlined.append(Match((specificity, order), rule, inlined=True))
        kept = [self._kept[int(number)] for number in _KEPT_MARKER.findall(markers)]
        return ElementGroup(inlined, kept, own)

    def declare(self, markers: str) -> Declared:
        """Return the declarations for an element into which the engine wrote `markers`."""
        declared = self._styles.get(markers)
        if declared is None:
            declared = self._merge([int(number) for number in _MARKER.findall(markers)])
            self._styles.put(markers, declared)
        return declared

    def _merge(self, numbers: Sequence[int]) -> Declared:
        # A rule counts once, by the most specific of its selectors that match.
        ranks: dict[int, tuple[tuple[int, int, int], int]] = {}
        for number in numbers:
            specificity, order, _ = self._matched[number]
            ranks[order] = max(ranks.get(order, (specificity, number)), (specificity, number))
        order_of = sorted(ranks, key=lambda order: (ranks[order][0], order))
        rules = [self._matched[ranks[order][1]][2] for order in order_of]
        reset: set[str] = set()
        important = _declarations(rules, reset, important=True)
        normal = _declarations(rules, reset, important=False)
        style = escape("; ".join(filter(None, (normal, important))), '"')
        return Declared(normal, important, f' style="{style}"')


def _declarations(rules: Sequence[StyleRule], reset: set[str], *, important: bool) -> str:
    """Return the declarations of `rules` but for those that a later rule resets.

    Declarations of one rule are kept beside each other: the first of two with one name is for
    programs that do not know the second. `reset` grows by what is reset here.
    """
    kept: dict[str, None] = {}  # the last first
    for rule in reversed(rules):
        own = [each for each in reversed(rule.declarations) if each.important is important]
        kept |= dict.fromkeys(f"{name}: {value}" for name, value, *_ in own if name not in reset)
        reset.update(*map(_resets, own))
    return "; ".join(reversed(kept))


def escape(css: str, quote: str) -> str:
    """Return `css` as it stands in an attribute within this quote."""
    css = css.replace("&", "&amp;")
    return css.replace("'", "&#39;") if quote == "'" else css.replace('"', "&quot;")


def _resets(declaration: Declaration) -> frozenset[str]:
    if not is_known_everywhere(declaration.name, declaration.value):
        return frozenset()
    return RESETS.get(declaration.name, frozenset({declaration.name}))


def _size(declared: Declared) -> int:
    return 2 * len(declared.attribute) + 100


_cascades: Cache[tuple[Sheet, ...], Cascade] = Cache(
    MAX_REMEMBERED, weigh=lambda cascade: cascade.size, heaviest=MAX_REMEMBERED // 8
)


def cascade_of(sheets: tuple[Sheet, ...]) -> Cascade:
    """Return the cascade of these sheets; mails of one mailing share it."""
    cascade = _cascades.get(sheets)
    if cascade is None:
        cascade = Cascade(sheets)
        _cascades.put(sheets, cascade)
    return cascade
