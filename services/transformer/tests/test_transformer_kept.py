"""What stays in the style element wins where it won before, and nothing else does."""

import pytest

from postroad_transformer.css.inlining import inline

SMALL = "@media (max-width: 480px)"


@pytest.mark.parametrize(
    ("sheet", "body", "kept"),
    [
        ("p{color:red} " + SMALL + "{p{color:blue}}", "<p>", SMALL + "{p{color:blue !important}}"),
        (
            "p{margin:0}" + SMALL + "{@supports(a:b){ p { margin-left: 9px /* c */ ; }}}",
            "<p>",
            "p { margin-left: 9px /* c */ !important ; }",
        ),
        ("a{color:red}a:hover{color:blue}", "<a>", "a:hover{color:blue !important}"),
        (
            "a{color:red}a:hover{color:blue}a::after{color:green}",
            "<a>",
            "a:hover{color:blue !important}a::after{color:green}",
        ),
        ("b{top:0}i:checked~b{top:1px}", "<i></i><b>", "i:checked~b{top:1px !important}"),
        (
            ":root{--Ink:#111}@media (a){:root{--Ink:#eee;--ink:#fff}}",
            "<html>",
            "{:root{--Ink:#eee !important;--ink:#fff}}",
        ),
        (
            "p{color:red}\r\n@media x{\r\np{color:blue}\r\n}",
            "<p>",
            "\r\n@media x{\r\np{color:blue !important}\r\n}",
        ),
        (
            "p{color:red}</style><style media='(a)'>p{color:blue}p{top:0}",
            "<p>",
            "<style media='(a)'>p{color:blue !important}p{top:0}</style>",
        ),
        (
            "p{margin-left:0}@media a{p{margin:1px;margin-top:9px}}",
            "<p>",
            "{p{margin:1px !important;margin-top:9px !important}}",
        ),
        # The second follows the first on the same element, so it has to stay the stronger one.
        (
            "p{color:red}@media a{p{color:blue}p.x{color:green}}",
            "<p class=x>",
            "{p{color:blue !important}p.x{color:green !important}}",
        ),
    ],
)
def test_what_would_lose_to_an_attribute_is_marked_important(sheet: str, body: str, kept: str):
    assert kept in inline(f"<style>{sheet}</style>{body}")


@pytest.mark.parametrize(
    ("sheet", "body"),
    [
        ("@media a{p{color:blue}} p{color:red}", "<p>"),  # it lost before
        ("#x{color:red}@media a{p{color:blue}}", "<p id=x>"),
        ("p{color:red}@media a{p{color:blue}}", "<p style='COLOR:#111'>"),
        ("p{color:red}@media a{p{color:blue}}", "<b>"),  # there is nothing to win against
        ("p{color:red}@media a{p{width:1px}}", "<p>"),
        ("p{color:red}@media a{p{color:blue!important}}", "<p>"),
        ("p{color:red!important}@media a{p{color:blue}}", "<p>"),
        ("p{color:red}@media a{p{color:tan!important}} @media a{p{color:blue}}", "<p>"),
        ("p{color:red}@layer a{p{color:blue}}", "<p>"),
        ("p{color:red}p::before{color:blue}", "<p>"),
        ("p{color:red}@media a{p{all:unset;}}", "<p>"),
        # No engine tells which elements the last one matches.
        ("p{color:red}@media a{p{color:blue}} :is(p,b).x{color:green}", "<p>"),
        ("p{color:red}@media a{p{color:blue", "<p>"),  # what ends it cannot be told
        # The one that stays behind would lose to the one before it.
        (
            "p{top:0}p.x{color:red}@media a{p{top:1px}p{top:2px}#y{top:3px}}",
            "<p><p id=y style='top:4px'>",
        ),
    ],
)
def test_all_else_in_a_style_element_stays(sheet: str, body: str):
    assert f"<style>{sheet}</style>" in inline(f"<style>{sheet}</style>{body}")


@pytest.mark.parametrize(
    "sheet",
    [
        "p{top:0}" + "".join(f"@media a{{p{{top:{n}px}}}}" for n in range(300)),
        "p{top:0}@media a{p{" + "top:1px;" * 20_000 + "}}",
        "p{" + ";".join(f"a{n}:b" for n in range(5_000)) + "}"
        "@media a{p{" + ";".join(f"a{n}:c" for n in range(5_000)) + ";}}",
    ],
    ids=["selectors", "declarations of one property", "properties"],
)
def test_too_many_rules_to_compare_all_stay(sheet: str):
    assert f"<style>{sheet}</style>" in inline(f"<style>{sheet}</style><p>")
