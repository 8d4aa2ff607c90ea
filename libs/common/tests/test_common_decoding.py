"""Decoded text can always be encoded again, whatever the octets, the charset and the words are."""

import base64
import email.header
import encodings.aliases
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.decoding import decode_text, decode_words, scrub
from postroad_common.mail.mime import read, read_headers

EVERY_CODEC = sorted({*encodings.aliases.aliases, *encodings.aliases.aliases.values()})
WORDS = st.builds(
    lambda charset, kind, data: f"=?{charset}?{kind}?{data}?=",
    st.sampled_from([*EVERY_CODEC, "", "x", "utf-7", "cp65001", "unicode_escape"]),
    st.sampled_from("bqBQx"),
    st.text("+2AA-=ABCdef0123_/ ", max_size=20),
)


def _can_be_written(text: str) -> None:
    assert json.loads(json.dumps(text).encode()) == text
    text.encode("utf-8")


@given(st.binary(max_size=60), st.sampled_from(EVERY_CODEC))
def test_text_of_any_charset_can_be_written(data: bytes, charset: str):
    _can_be_written(decode_text(data, charset))


@given(st.lists(st.one_of(WORDS, st.text(max_size=10)), max_size=5).map("".join))
def test_words_of_any_kind_can_be_written(value: str):
    _can_be_written(decode_words(value))


@given(st.binary(max_size=200))
def test_headers_of_any_octets_can_be_written(block: bytes):
    for name, value in read_headers(block).fields:
        _can_be_written(name)
        _can_be_written(decode_words(value))


@given(st.binary(max_size=300), st.sampled_from(EVERY_CODEC))
def test_parts_of_any_octets_can_be_written(body: bytes, charset: str):
    head = f"Content-Type: text/html; charset={charset}\r\n\r\n".encode()
    _can_be_written(read(head + body).text)


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode_escape", "raw_unicode_escape", "punycode", "idna", "rot13", "hex"]
)
def test_what_no_mail_is_written_in_is_never_decoded_with(charset: str):
    assert decode_text(b"+2AA- \\ud800 abc-", charset) == "+2AA- \\ud800 abc-"
    assert "\ud800" not in decode_words(f"=?{charset}?Q?+2AA-_\\ud800?=")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8*de?B?R3LDvMOfZQ==?= aus =?iso-8859-1?q?K=F6ln?=", "Grüße aus Köln"),
        ("=?utf-8?B?R3LD?=\t =?UTF-8?B?vMOfZQ==?=", "Grüße"),
        ("=?utf-8?Q?a?= =?iso-8859-1?Q?b?= c", "ab c"),
        ("Re: =?utf-8?Q?a_b?=:c", "Re: a b:c"),
        ("Łódź =?utf-8?Q?=C5=81?=", "Łódź Ł"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8?Q?not ended", "=?utf-8?Q?not ended"),
        ("no word", "no word"),
        ("lone \udcff", "lone \ufffd"),
    ],
)
def test_encoded_words(value: str, text: str):
    assert decode_words(value) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=80))
def test_what_the_standard_library_encodes_is_read(text: str):
    encoded = email.header.Header(text, "utf-8").encode().replace("\n", "")
    assert decode_words(encoded) == text


@given(st.text(max_size=80), st.sampled_from(["utf-8", "utf-16", "gb18030"]))
def test_words_split_within_a_character_are_one_text(text: str, charset: str):
    octets = scrub(text).encode(charset)
    halves = (octets[: len(octets) // 2], octets[len(octets) // 2 :])
    words = [f"=?{charset}?B?{base64.b64encode(half).decode()}?=" for half in halves]
    assert decode_words(" ".join(words)) == scrub(text)
