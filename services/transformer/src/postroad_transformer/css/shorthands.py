"""Which properties a declaration resets, and which values every mail program knows.

A declaration that a later one resets in every program may be left out. Only the shorthands that
mail uses are here: what is not known is not left out.
"""

import re
from functools import lru_cache

_SIDES = ("top", "right", "bottom", "left")


def _border_parts(*names: str) -> frozenset[str]:
    return frozenset(f"{name}-{part}" for name in names for part in ("width", "style", "color"))


_BACKGROUND = "attachment clip color image origin position position-x position-y repeat size"
_FONT = (
    "family size stretch style variant variant-caps variant-ligatures variant-numeric weight "
    "size-adjust kerning feature-settings"
)
_LONGHANDS = {
    "margin": frozenset(f"margin-{side}" for side in _SIDES),
    "padding": frozenset(f"padding-{side}" for side in _SIDES),
    "border": _border_parts("border", *(f"border-{side}" for side in _SIDES))
    | {f"border-{side}" for side in _SIDES},
    **{f"border-{side}": _border_parts(f"border-{side}") for side in _SIDES},
    **{
        f"border-{part}": frozenset(f"border-{side}-{part}" for side in _SIDES)
        for part in ("width", "style", "color")
    },
    "border-radius": frozenset(
        f"border-{y}-{x}-radius" for y in ("top", "bottom") for x in ("left", "right")
    ),
    "background": frozenset(f"background-{part}" for part in _BACKGROUND.split()),
    "font": frozenset(f"font-{part}" for part in _FONT.split()) | {"line-height"},
    "list-style": frozenset({"list-style-image", "list-style-position", "list-style-type"}),
    "outline": frozenset({"outline-color", "outline-style", "outline-width"}),
    "overflow": frozenset({"overflow-x", "overflow-y"}),
}
RESETS = {name: longhands | {name} for name, longhands in _LONGHANDS.items()}
"""For each shorthand the properties that it sets, itself among them."""


@lru_cache(4096)
def overlap(name: str, other: str) -> bool:
    """Whether a declaration of one property may set what one of the other sets, too."""
    if name == other:
        return True
    if name.startswith("--") or other.startswith("--"):
        return False
    if "all" in {name, other}:
        return True
    if name in RESETS or other in RESETS:
        return not RESETS.get(name, {name}).isdisjoint(RESETS.get(other, {other}))
    return name.startswith(f"{other}-") or other.startswith(f"{name}-")


@lru_cache(4096)
def touched(name: str) -> frozenset[str]:
    """Return names of which two properties that `overlap` share one, and some others do."""
    if name.startswith("--"):
        return frozenset({name})
    words = name.split("-")
    prefixes = {"-".join(words[:count]) for count in range(1, len(words) + 1)}
    return RESETS.get(name, frozenset({name})) | prefixes


# Words, numbers with the old units, colours and addresses.
_KNOWN = re.compile(
    r"""(?:[ ,/]|'[^'\\]*+'|\#[0-9a-f]{6}(?![0-9a-z])|\#[0-9a-f]{3}(?![0-9a-z])
    |[+-]?(?:\d++(?:\.\d++)?|\.\d++)(?:px|pt|em|ex|in|cm|mm|pc|%)(?![\w.%(-])
    |[+-]?0(?![\w.%(-])
    |(?!(?:flex|grid|inline-flex|inline-grid|contents|sticky|clip|unset|initial|inherit|revert
    |revert-layer|start|end|min-content|max-content|fit-content|currentcolor|transparent|flow-root
    |anywhere|break-word|math|system-ui|space-evenly|stretch|var)(?![\w-]))[a-z][a-z-]*+(?![\w(\\-])
    |url\((?:'[^'\\]*+'|[^'"()\\ ]*+)\))++""",
    re.VERBOSE | re.IGNORECASE,
)


_NUMBER = re.compile(r"\d++(?:\.\d++)?|\.\d++")
_NUMBERS = frozenset({"font-weight", "line-height", "opacity", "orphans", "widows", "z-index"})


def is_known_everywhere(name: str, value: str) -> bool:
    """Whether every mail program understands `value`, so that none falls back to another."""
    if _KNOWN.fullmatch(value):
        return True
    return name in _NUMBERS and bool(_NUMBER.fullmatch(value))
