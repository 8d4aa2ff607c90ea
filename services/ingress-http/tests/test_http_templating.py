"""Templates filled in their own process, and the syntax of the original service."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from postroad_ingress_http.sending.mimetexts import MimeTemplate
from postroad_ingress_http.templating.engine import Engine, Escaping
from postroad_ingress_http.templating.problems import TemplateError
from postroad_ingress_http.templating.renderer import (
    FillBounds,
    NoWorkerError,
    Renderer,
    TemplateSource,
)

ACCOUNT = "account"
ENDLESS = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"


def fill(source: str, escaping: Escaping = "text", **data: object) -> str:
    """Return the filled text."""
    return Engine(10_000).compile("html", source, escaping).fill(data, 0)


@pytest.mark.parametrize(
    ("source", "data", "expected"),
    [
        ("Hi {$name}", {"name": "Bo"}, "Hi Bo"),
        ("Hi {{ name }}", {"name": "Bo"}, "Hi Bo"),
        ("{$a.b[1]|toupper}", {"a": {"b": [1, "q"]}}, "Q"),
        ("{$list.0}", {"list": ["first"]}, "first"),
        ("{$my-name}", {"my-name": 3}, "3"),
        ("{$x|replace:'a':'o'|cat:'!'}", {"x": "banana"}, "bonono!"),
        ("{$x|default:'friend'}", {}, "friend"),
        ("{if $n gt 3 && !$y}big{elseif $n == 2}two{else}small{/if}", {"n": 5, "y": False}, "big"),
        ("{if $n gt 3}big{elseif $n == 2}two{else}small{/if}", {"n": 2}, "two"),
        ("{foreach $l as $k => $v}{$k}={$v};{/foreach}", {"l": {"a": 1, "b": 2}}, "a=1;b=2;"),
        ("{foreach $i in $l}{$i},{foreachelse}none{/foreach}", {"l": [1, 2]}, "1,2,"),
        ("{foreach $i in $l}{$i},{foreachelse}none{/foreach}", {"l": []}, "none"),
        ("{assign 3+4 to $sum}{$sum}", {}, "7"),
        ("{literal}{$x}{/literal}{ldelim}{rdelim}", {}, "{$x}{}"),
        ("p{color:red} #a{x:y} {*zoom:1}", {}, "p{color:red} #a{x:y} {*zoom:1}"),
        ("@media x{#a{b:c}}", {}, "@media x{#a{b:c}}"),
        ("{$x|truncate:8}", {"x": "a long sentence"}, "a lon..."),
        ("{$x|substr:2:3}", {"x": "abcdefg"}, "cde"),
        ("{$x|count_words}", {"x": "a b c"}, "3"),
        ("{$x|base64_encode|base64_decode|md5}", {"x": "a"}, "0cc175b9c0f1b6a831c399e269772661"),
        ("{$x|urlencode}", {"x": "a b&c"}, "a+b%26c"),
        ("{$x|cat:'}'}", {"x": "{"}, "{}"),
    ],
)
def test_both_syntaxes_are_filled(source: str, data: dict[str, object], expected: str) -> None:
    assert fill(source, **data) == expected


@pytest.mark.parametrize(
    ("source", "kind", "line", "column"),
    [
        ("a\n b {$nam}", "unknown_variable", 2, 6),
        ("a\n b {{ nam }}", "unknown_variable", 2, 7),
        ("{{ known.nam }}", "unknown_variable", 1, 10),
        ("{if $nam}x{/if}", "unknown_variable", 1, 6),
        ("\n{if x}a{/if}", "syntax", 2, 1),
        ("\n\n {% if known %} {% fi %}", "syntax", 3, 20),
        ("x {$known", "syntax", 1, 3),
        ("{literal}", "syntax", 1, 1),
        ("{$known|nosuch}", "syntax", 1, 9),
        ("{% include 'x' %}", "not_allowed", 1, 1),
        ("{{ known.__class__ }}", "not_allowed", 1, 10),
        ("{{ 'a' * 100000000 }}", "value", 1, 1),
        ("{{ 2 ** 1000000 }}", "too_large", 1, 1),
        ("{{ 'a'|center(20000) }}", "too_large", 1, 1),
        ("{$known|replace:'x':1}{{ known + 1 }}", "value", 1, 1),
    ],
)
def test_fault_is_named_with_its_place(source: str, kind: str, line: int, column: int) -> None:
    with pytest.raises(TemplateError) as raised:
        fill(source, known={"some": 1})
    problem = raised.value.problem
    assert (problem.kind, problem.line, problem.column) == (kind, line, column), problem
    assert "object" not in problem.message or kind in {"not_allowed", "unknown_variable"}


def test_values_are_put_in_as_their_place_demands() -> None:
    hostile = 'Bob" <x@evil.test>\r\nBcc: y@evil.test'
    assert fill("<p>{$v}</p>", "html", v="<b>&") == "<p>&lt;b&gt;&amp;</p>"
    assert fill("{$v|escape}", "html", v="<b>") == "&lt;b&gt;"
    assert fill("{$v}", "text", v="<b>&") == "<b>&"
    assert fill("Re: {$v}", "line", v=hostile) == 'Re: Bob" <x@evil.test> Bcc: y@evil.test'
    named = fill('"{$v}" <{$a}>', "address", v=hostile, a="bob@receiver.test")
    assert named == '"Bob   x evil.test  Bcc  y evil.test" <bob@receiver.test>'


MESSAGE = b"""From: Shop <news@shop.test>\r
To: "{$name}" <{$recipient}>\r
Subject: =?utf-8?q?Caf=C3=A9_for_{$name}?=\r
X-Folded: kept as\r
 it came\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=q\r
\r
--q\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Hall=F6 {$name}\r
--q\r
Content-Type: multipart/signed; boundary=s; protocol="application/pgp-signature"\r
\r
--s\r
Content-Type: text/plain\r
\r
Signed {$name}\r
--s--\r
--q\r
Content-Type: text/html; charset=utf-8\r
Content-Disposition: attachment; filename=a.html\r
\r
<p>{$name}</p>\r
--q--\r
"""


@pytest_asyncio.fixture
async def renderer() -> AsyncIterator[Renderer]:
    """Yield processes that have little."""
    made = Renderer(FillBounds(max_octets=100_000, room=300_000, cpu_seconds=0.3))
    yield made
    await made.close()


async def test_whole_message_is_filled_where_it_may_be(renderer: Renderer) -> None:
    message = MimeTemplate(MESSAGE)
    data = {"name": "Zoë\r\nBcc: x@evil.test", "recipient": "zoe@receiver.test"}
    (filled,) = await renderer.fill(ACCOUNT, message.sources, [data])
    made = message.fill(filled)
    head, _, body = made.partition(b"\r\n\r\n")
    assert b"\r\nBcc:" not in head
    assert b"<zoe@receiver.test>\r\n" in head
    assert b"X-Folded: kept as\r\n it came\r\n" in head
    assert b"Hall=C3=B6 Zo=C3=AB" in body
    # What is signed, and what is attached, is the sender's alone.
    assert b"Signed {$name}\r\n" in body
    assert b"<p>{$name}</p>\r\n" in body
    assert MESSAGE.partition(b"--s\r\n")[2] == made.partition(b"--s\r\n")[2]


async def test_message_without_a_tag_stays_octet_for_octet() -> None:
    plain = MESSAGE.replace(b"{$", b"(")
    message = MimeTemplate(plain)
    assert not message.sources
    assert message.fill([]) == plain


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ENDLESS, "too_slow"),
        ("{{ 'x'|center(2000000000) }}", "too_large"),
        ("{% for a in range(9999) %}{{ 'x'|center(1000) }}{% endfor %}", "too_large"),
    ],
)
async def test_greedy_template_is_ended_and_the_next_is_filled(
    renderer: Renderer, text: str, kind: str
) -> None:
    with pytest.raises(TemplateError) as raised:
        await renderer.fill(ACCOUNT, [TemplateSource("html", text, "html")], [{}])
    assert raised.value.problem.kind == kind
    fine = [TemplateSource("text", "Hi {$name}", "text")]
    assert await renderer.fill(ACCOUNT, fine, [{"name": "Bo"}]) == [["Hi Bo"]]


async def test_many_mails_come_in_their_order_and_a_fault_names_its_own(renderer: Renderer) -> None:
    texts = [
        TemplateSource("text", "Hi {$n}", "text"),
        TemplateSource("subject", "{$n|default:'x'}", "line"),
    ]
    data = [{"n": number} for number in range(170)]
    filled = await renderer.fill(ACCOUNT, texts, data)
    assert filled == [[f"Hi {number}", str(number)] for number in range(170)]
    del data[133]["n"]
    with pytest.raises(TemplateError) as raised:
        await renderer.fill(ACCOUNT, texts, data)
    assert raised.value.problem.mail == 133


async def test_all_mails_together_are_bounded(renderer: Renderer) -> None:
    text = [TemplateSource("text", "{{ 'x'|center(90000) }}{$n}", "text")]
    with pytest.raises(TemplateError, match="all mails together"):
        await renderer.fill(ACCOUNT, text, [{"n": 1}] * 60)


async def test_account_that_holds_every_turn_delays_only_itself() -> None:
    slow = [TemplateSource("html", ENDLESS, "html")]
    renderer = Renderer(FillBounds(cpu_seconds=30, patience=2, workers=2))
    first = asyncio.create_task(renderer.fill("greedy", slow, [{}]))
    second = asyncio.create_task(renderer.fill("greedy", slow, [{}]))
    fine = [TemplateSource("text", "Hi", "text")]
    assert await renderer.fill("other", fine, [{}]) == [["Hi"]]
    with pytest.raises(TemplateError):
        await first
    with pytest.raises((TemplateError, NoWorkerError)):
        await second
    await renderer.close()
