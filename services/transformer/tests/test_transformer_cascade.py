"""The cascade against a referee of its own: tinycss2 reads, cssselect2 matches, this file sorts.

What is compared is what a reader sees: for every element and every longhand the declaration that
wins, once in a program that knows every value, and once in an old one that knows no functions.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cssselect2
import pytest
import tinycss2
from lxml import html as lxml_html

from postroad_transformer.css.inlining import inline

TEMPLATES = Path(__file__).parent / "data" / "templates"
SIDES = ("top", "right", "bottom", "left")
SHORTHANDS = {
    "margin": [f"margin-{side}" for side in SIDES],
    "padding": [f"padding-{side}" for side in SIDES],
    "border": [f"border-{side}-{part}" for side in SIDES for part in ("width", "style", "color")],
    **{
        f"border-{side}": [f"border-{side}-{part}" for part in ("width", "style", "color")]
        for side in SIDES
    },
    **{
        f"border-{part}": [f"border-{side}-{part}" for side in SIDES]
        for part in ("width", "style", "color")
    },
    "background": [
        f"background-{part}"
        for part in ("color", "image", "repeat", "position", "size", "attachment", "origin", "clip")
    ],
    "font": [f"font-{part}" for part in ("family", "size", "style", "weight", "variant", "stretch")]
    + ["line-height"],
    "list-style": ["list-style-type", "list-style-position", "list-style-image"],
}
Found = tuple[str, str, bool]  # name, value, important


def declarations(content: Any) -> Iterator[Found]:
    for node in tinycss2.parse_blocks_contents(content):
        if node.type == "declaration":
            value = "".join(
                " " if token.type in {"whitespace", "comment"} else token.serialize()
                for token in node.value
            )
            value = re.sub(" +", " ", value.replace("'", '"')).strip()
            # Not valid as a value of any property (CSS Syntax 3, 8.2), which tinycss2 leaves open.
            wrong = [t for t in node.value if t.type in {"error", "{} block"} or t == "!"]
            if value and not wrong:
                yield node.lower_name, value, node.important


def winners(found: Iterable[Found], *, old: bool) -> dict[str, tuple[str, str]]:
    """Return for each longhand the declaration that wins among `found`, which are in order."""
    won: dict[str, tuple[str, str, bool]] = {}
    for name, value, important in found:
        if old and (
            "(" in value.replace("url(", "") or re.search(r"\b(flex|grid|\d+v[wh])\b", value)
        ):
            continue
        for longhand in SHORTHANDS.get(name, [name]):
            if important or not won.get(longhand, ("", "", False))[2]:
                won[longhand] = name, value, important
    return {longhand: (name, value) for longhand, (name, value, _) in won.items()}


def cascade(sheets: Sequence[str], root: Any) -> list[list[Found]]:
    """Return what each element of the tree is declared, weakest first."""
    matcher = cssselect2.Matcher()
    for css in sheets:
        for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
            if rule.type != "qualified-rule":
                continue
            try:
                selectors = list(cssselect2.compile_selector_list(rule.prelude))
            except cssselect2.SelectorError:
                continue
            for selector in selectors:
                matcher.add_selector(selector, list(declarations(rule.content)))
    result: list[list[Found]] = []
    for element in cssselect2.ElementWrapper.from_html_root(root).iter_subtree():
        matches = [match for match in matcher.match(element) if match[2] is None]
        rules = [payload for _, _, _, payload in sorted(matches, key=lambda match: match[:2])]
        own = list(declarations(element.etree_element.get("style") or ""))
        ordered = [each for rule in rules for each in rule if not each[2]]
        ordered += [each for each in own if not each[2]]
        ordered += [each for rule in rules for each in rule if each[2]]
        result.append(ordered + [each for each in own if each[2]])
    return result


def unmarked(found: Iterable[Found]) -> list[Found]:
    return [(name, value, False) for name, value, _ in found]


def tree(html: str) -> Any:
    """Return the elements of a page without its style elements, whose content is no XML."""
    return ET.fromstring(re.sub("<style>.*?</style>", "", html, flags=re.DOTALL))  # noqa: S314 - a page of this file


def check(html: str, sheets: Sequence[str]) -> int:
    """Compare the inlined page with the referee; how many declarations there were."""
    expected = cascade(sheets, tree(html))
    count = 0
    for element, ordered in zip(tree(inline(html)).iter(), expected, strict=True):
        if element.tag == "head":
            continue
        style = list(declarations(element.get("style") or ""))
        for old in (False, True):
            # Sorted, nothing outranks what stands later, so the marks say no more than the order.
            assert winners(style, old=old) == winners(unmarked(ordered), old=old), (
                html,
                element.tag,
            )
        count += len(style)
    return count


TYPES = ("p", "td", "a", "b", "table", "*", "P")
CLASSES = (".x", ".y", ".z", ".x.y")
OTHERS = (
    "#i", "#j", "[title]", "[title=t]", "[class~=x]", "[href^='http']", ":first-child",
    ":last-child", ":nth-child(2n+1)", ":not(.x)", ":not(#i, .y)", ":only-child", ":root",
    ":first-of-type", "a:link",
)  # fmt: skip
DYNAMIC = ("a:hover", ".x:focus", "p::before", "p:first-line", "td:active")
INVALID = ("_:-ms-fullscreen", ".a:bogus", ".a:bogus(x)", "p..x", "#1", "p > > a", ">p", "p,,b",
           "p:nth-child(x)", ":not()", "[a=]", "p{", "100%", "a!b", ".x:hover(1)", "")  # fmt: skip
VALUES = {
    "color": ("red", "#c00", "#00cc00", "rgb(1,2,3)", "oklch(50% 0 0)"),
    "margin": ("0", "1px 2px", "0 auto", "calc(1px + 2px)"),
    "margin-left": ("3px", "auto"),
    "padding": ("10px", "24px", "0 1em"),
    "padding-top": ("0", "5px", "1vh"),
    "border": ("none", "1px solid #cccccc"),
    "border-top": ("0", "2px dotted red"),
    "border-left-width": ("3px",),
    "border-color": ("#000", "red blue"),
    "background": ("#ffffff", "none", "url(a.png) no-repeat", "linear-gradient(red,blue)"),
    "background-color": ("#cc0000", "transparent"),
    "background-image": ("url('x;y.png')", "none"),
    "font": ("12px/1.5 Arial", "bold 14px 'A B',serif"),
    "font-size": ("14px", "2em"),
    "line-height": ("1.5", "20px"),
    "font-family": ("Arial", "'A B', \"C D\"", "A, sans-serif"),
    "display": ("block", "none", "flex", "inline-block"),
    "width": ("600px", "100%", "50vw"),
    "list-style": ("none", "square inside"),
    "list-style-type": ("disc",),
    "mso-hide": ("all",),
    "-webkit-text-size-adjust": ("100%",),
}
BROKEN = ("color red", "*zoom:1", "color:", ":red", "color:red!x", "color:'a\nb'", "@page{a:b}",
          "b{color:red}", "a:hover{color:red}", "padding:1)", "font-size:{}", "/*;}*/",
          "color:url(a'b)", "-:x", "1a:b", "color:!important", ";;")  # fmt: skip
BETWEEN = ("/* p{color:blue} } */", "<!--", "-->", "@import 'a;b.css';", '@charset "utf-8";',
           "@media screen{p{color:blue}}", "@font-face{font-family:x;src:url(x)}",
           "@media x{@media y{b{color:red}}}", "\n", "/*@*/", "}", "@x (;) y;", ";")  # fmt: skip


def make_selector(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.06:
        return rng.choice(INVALID)
    if kind < 0.14:
        return rng.choice(DYNAMIC)
    compounds = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        choices = rng.sample((rng.choice(CLASSES), rng.choice(OTHERS)), rng.randrange(3))
        first = rng.choice(TYPES) if rng.random() < 0.6 or not choices else ""
        compounds.append(first + "".join(c for c in choices if not (first and c[0] == "a")))
    text = compounds[0] or "p"
    for compound in compounds[1:]:
        text += rng.choice((" ", " > ", ">", " + ", "~", " /**/ ", "\n")) + (compound or "td")
    return text


def make_declaration(rng: random.Random) -> str:
    if rng.random() < 0.08:
        return rng.choice(BROKEN)
    name = rng.choice(tuple(VALUES))
    mark = rng.choice(("", "", "", "", " !important", "!IMPORTANT", " ! important "))
    space = rng.choice(("", " ", "\n  ", "/* c */"))
    written = rng.choice((name, name, name.upper()))
    return f"{space}{written}{space}:{space}{rng.choice(VALUES[name])}{mark}"


def make_sheet(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randrange(1, 9)):
        if rng.random() < 0.15:
            parts.append(rng.choice(BETWEEN))
        selectors = ",".join(make_selector(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        body = ";".join(make_declaration(rng) for _ in range(rng.randrange(6)))
        parts.append(
            selectors + rng.choice(("{", " {", "\n{")) + body + rng.choice(("}", ";}", " }\n"))
        )
    sheet = "".join(parts)
    cut = sheet if rng.random() < 0.9 else sheet[: rng.randrange(len(sheet))]
    return cut if cut.count("(") == cut.count(")") else sheet  # what ends open is a case of its own


def make_page(rng: random.Random, depth: int = 0) -> str:
    text = ""
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(("p", "b", "div", "a") if depth else ("div", "p", "section"))
        attributes = ""
        if rng.random() < 0.6:
            attributes += f' class="{rng.choice(("x", "y", "x y", "z x"))}"'
        if rng.random() < 0.2:
            attributes += f' id="{rng.choice("ij")}"'
        if rng.random() < 0.2:
            attributes += ' title="t"'
        if name == "a":
            attributes += ' href="http://x.test/"'
        if rng.random() < 0.3:
            style = ";".join(make_declaration(rng) for _ in range(rng.randrange(3)))
            for char, reference in (
                ("&", "&amp;"),
                ('"', "&quot;"),
                ("<", "&lt;"),
                ("\n", "&#10;"),
            ):
                style = style.replace(char, reference)
            attributes += f' style="{style}"'
        inside = make_page(rng, depth + 1) if depth < 2 and name not in {"p", "a"} else "text"
        text += f"<{name}{attributes}>{inside}</{name}>"
    return text


def as_page(sheets: Sequence[str], body: str) -> str:
    styles = "".join(f"<style>{css}</style>" for css in sheets)
    return f"<html><head>{styles}</head><body>{body}</body></html>"


@pytest.mark.parametrize("seed", range(20))
def test_random_sheets_give_what_the_referee_says(seed: int):
    rng = random.Random(seed)
    count = 0
    for _ in range(100):
        sheets = [make_sheet(rng) for _ in range(rng.choice((1, 1, 2)))]
        count += check(as_page(sheets, make_page(rng)), sheets)
    assert count > 100


def read_template(path: Path) -> tuple[str, list[str]]:
    """Return a template without comments, and its sheets for every screen."""
    flags = re.DOTALL | re.IGNORECASE
    html = re.sub("(<style.*?</style>)|<!--.*?-->", r"\1", path.read_text(), flags=flags)
    sheets = re.findall(r"<style(?![^>]*media=.(?:print|\())[^>]*>(.*?)</style>", html, flags)
    return html, sheets


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_a_template_gets_what_the_referee_says(path: Path):
    html, sheets = read_template(path)
    expected = cascade(sheets, lxml_html.document_fromstring(html))
    count = 0
    for element, ordered in zip(
        lxml_html.document_fromstring(inline(html)).iter(), expected, strict=True
    ):
        if element.tag in {"head", "meta", "title", "style", "link"}:
            continue
        found = winners(declarations(element.get("style") or ""), old=False)
        assert found == winners(unmarked(ordered), old=False), element.tag
        count += len(found)
    assert count


def style_of(css: str, html: str) -> str:
    """Return the style attribute of the first element of `html` that has one."""
    found = re.search(r' style="([^"]*)"', inline(f"<style>{css}</style>{html}"))
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("css", "html", "style"),
    [
        # A later shorthand resets earlier longhands.
        (".cell{padding:10px}.first{padding-top:0}.card{padding:24px}",
         "<p class='cell first card'>", "padding: 24px"),
        (".promo{background-color:#c00}.plain{background:none}", "<p class='promo plain'>",
         "background: none"),
        (".a{border-top:0}.b{border:1px solid red}.c{border-left-width:2px}", "<p class='a b c'>",
         "border: 1px solid red; border-left-width: 2px"),
        ("p{border-radius:3px}.a{border:none}", "<p class=a>", "border-radius: 3px; border: none"),
        ("p{font:12px Arial!important}.a{font-size:9px}", "<p class=a>",
         "font: 12px Arial"),
        ("p{margin-left:1px!important}.a{margin:2px}", "<p class=a>",
         "margin: 2px; margin-left: 1px"),
        # Fallbacks stay, in order, within a rule and between rules.
        (".b{background:#c00;background:linear-gradient(#c00,#900)}", "<p class=b>",
         "background: #c00; background: linear-gradient(#c00,#900)"),
        ("p{width:600px}.b{width:calc(100% - 2px)}", "<p class=b>",
         "width: 600px; width: calc(100% - 2px)"),
        ("p{display:block}.b{display:flex}", "<p class=b>", "display: block; display: flex"),
        ("p{width:600px}.b{width:600}", "<p class=b>", "width: 600px; width: 600"),
        ("p{color:red}.b{color:blue}", "<p class=b>", "color: blue"),
        ("p{height:1px\\9;color:red}", "<p>", "height: 1px\\9; color: red"),
        # One invalid selector voids the whole rule; one that is only for a state does not.
        (".a:bogus(x), p{color:red}", "<p>", ""),
        ("_:-ms-fullscreen, :root p{color:red}", "<p>", ""),
        ("p, p..x{color:red}b{color:red}", "<p>", ""),
        ("p:hover, p{color:red}", "<p>", "color: red"),
        ("p::-webkit-scrollbar, p{color:red}", "<p>", "color: red"),
        ("p:not(:hover){color:red}", "<p>", ""),
        ("p:is(.x), p{color:red}", "<p>", "color: red"),
        # What is between the rules.
        ("b:empty{color:red} p{color:red} <!-- .c{x:y}", "<p>", "color: red"),
        ("<!-- p{color:red} -->", "<p>", "color: red"),
        ("@import 'x;p{color:blue}';@media print{p{color:blue}}p{color:red}", "<p>", "color: red"),
        ("p{color:red;b{color:blue}margin:0}", "<p>", "color: red; margin: 0"),
        ("p{color:red;margin:(1;}b{x:y}", "<p>", "color: red"),
        ("p{color:red;*zoom:1;_height:1px}", "<p>", "color: red; _height: 1px"),
        ("p{font-family:\"A B\",\"C'D\"}", "<p>", "font-family: 'A B',&quot;C'D&quot;"),
        ("p{color:red;font-family:'A", "<p>", "color: red; font-family: 'A'"),
        # The author's own.
        ("p{color:red!important;margin:0}", "<p style=color:blue;>",
         "margin: 0; color:blue; color: red"),
        # What the author leaves open ends with the attribute, and does not swallow what follows.
        ("p{color:red!important}", '<p style="margin:0;/* x">', "margin:0;/* x*/; color: red"),
        ("p{color:red!important}", '<p style="font-family:&quot;A;">',
         "font-family:&quot;A;&quot;; color: red"),
        ("p{color:red!important}", '<p style="background:url(x">', "background:url(x); color: red"),
        ("p{color:red!important}", '<p style="margin:calc((1px;{[">',
         "margin:calc((1px;{[]})); color: red"),
        ("p{color:red!important}", '<p style="margin:1px\\">', "margin:1px\\fffd ; color: red"),
        ("p{color:red!important}", '<p style="content:\'x\\">', "content:'x\\\n'; color: red"),
        ("p{color:red}", '<p style="margin:0;/* x">', "color: red; margin:0;/* x"),
    ],
)  # fmt: skip
def test_declarations_stand_in_the_order_of_the_cascade(css: str, html: str, style: str):
    assert style_of(css, html) == style
