import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail import identifiers, unitext, xtext
from postroad_common.mail.address import AddressError, domain_of, parse_mailbox
from postroad_common.mail.parameters import (
    Body,
    MailParameters,
    Notify,
    OriginalRecipient,
    ParameterError,
    RcptParameters,
    Ret,
    unite_notify,
)
from postroad_common.mail.reply import Reply

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(st.floats(min_value=0, max_value=4e9), st.floats(min_value=0.002, max_value=1e6))
def test_identifiers_sort_by_time(moment: float, later: float) -> None:
    assert identifiers.new_id(moment) < identifiers.new_id(moment + later)


@given(st.floats(min_value=0, max_value=4e9))
def test_identifier_tells_its_time_and_survives_the_octets_of_a_token(moment: float) -> None:
    identifier = identifiers.new_id(moment)
    assert identifiers.is_id(identifier)
    assert abs(identifiers.id_time(identifier) - moment) < 0.002
    assert identifiers.from_bytes(identifiers.to_bytes(identifier)) == identifier


def test_identifiers_differ_within_one_moment() -> None:
    assert len({identifiers.new_id(1.0) for _ in range(10_000)}) == 10_000


def test_derived_identifier_is_the_same_for_the_same_cause_only() -> None:
    first = identifiers.derived_id(1e9, "dsn", "abc")
    assert first == identifiers.derived_id(1e9, "dsn", "abc")
    assert first != identifiers.derived_id(1e9, "dsn", "abd")
    assert first != identifiers.derived_id(1e9, "dsna", "bc")
    assert identifiers.is_id(first)


@pytest.mark.parametrize("text", ["", "short", "A" * 21, "w" * 21, "0" * 22, "0" * 20 + "\n"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    assert not identifiers.is_id(text)
    with pytest.raises(ValueError, match="not a message identifier"):
        identifiers.id_time(text)


@given(PRINTABLE)
def test_xtext_round_trips(text: str) -> None:
    encoded = xtext.encode(text)
    assert not set(encoded) & set(" =")
    assert xtext.decode(encoded) == text


@pytest.mark.parametrize("text", ["a=b", "a b", "+2", "+zz", "+2b", "+0D+0A", "+00", "+FF", "é"])
def test_what_is_no_xtext_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="xtext"):
        xtext.decode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("joe@example.com", "joe@example.com"),
        ("Joe.Doe+tag@EXAMPLE.Com", "Joe.Doe+tag@example.com"),
        ('"joe doe"@example.com', '"joe doe"@example.com'),
        ('"a@b"@example.com', '"a@b"@example.com'),
        ("joe@[192.0.2.1]", "joe@[192.0.2.1]"),
        ("joe@[IPv6:2001:db8::1]", "joe@[IPv6:2001:db8::1]"),
        ("joe@localhost", "joe@localhost"),
        ("joe@xn--bcher-kva.example", "joe@xn--bcher-kva.example"),
        ("joe.@example.com", "joe.@example.com"),
        (".joe@example.com", ".joe@example.com"),
        ("joe..doe@example.com", "joe..doe@example.com"),
        ("a" * 242 + "@example.com", "a" * 242 + "@example.com"),
    ],
)
def test_mailbox_is_accepted(text: str, expected: str) -> None:
    assert parse_mailbox(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "joe",
        "@example.com",
        "joe@",
        "joe@example..com",
        "joe@-example.com",
        "joe@example.com.",
        "joe@192.0.2.1",
        "joe@[300.1.1.1]",
        "joe@[IPv6:xyz]",
        "joe doe@example.com",
        "@relay.test:joe@example.com",
        "joe@exam ple.com",
        "joe\r\nRCPT TO:<x@y.z>@example.com",
        "joe@example.com\r\n",
        "joe@example.com\n",
        "joe\0@example.com",
        "a" * 243 + "@example.com",
        "é" * 65 + "@example.com",
        "joe@" + "a" * 64 + ".com",
        "joe@" + ".".join(["abcdefgh"] * 30),
        "<joe@example.com>",
        "joe@example.com>",
        '"joe@example.com',
        '"jo"e"@example.com',
        "josé@example.com",
        "joe@exämple.com",
    ],
)
def test_what_is_no_mailbox_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_mailbox(text)
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('"joe"@example.com', "joe@example.com", True),
        ('"j\\oe"@example.com', "joe@EXAMPLE.com", True),
        ('"a\\"b"@example.com', '"a\\"\\b"@example.com', True),
        ('"joe doe"@example.com', '"joe\\ doe"@example.com', True),
        ("josé@bücher.example", "josé@xn--bcher-kva.example", True),
        ("joe@example.com", "Joe@example.com", False),
        ('"joe"@example.com', '"joe "@example.com', False),
        ("joe@example.com", "joe@www.example.com", False),
    ],
)
def test_two_spellings_of_one_mailbox_are_the_same(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    first, second = parse_mailbox(one, smtputf8=True), parse_mailbox(other, smtputf8=True)
    assert (first.identity == second.identity) is same


def test_internationalised_mailbox_needs_smtputf8_and_gets_an_a_label_domain() -> None:
    mailbox = parse_mailbox("josé@Bücher.example", smtputf8=True)
    assert mailbox.text == "josé@xn--bcher-kva.example"
    assert mailbox.needs_smtputf8
    assert not parse_mailbox("jose@bücher.example", smtputf8=True).needs_smtputf8


@given(st.text(max_size=80), st.booleans())
def test_mailbox_parser_never_lets_control_characters_through(text: str, utf8: bool) -> None:  # noqa: FBT001
    try:
        mailbox = parse_mailbox(text, smtputf8=utf8)
    except AddressError:
        return
    assert not any(ord(char) < 32 or ord(char) == 127 for char in mailbox.text)
    assert domain_of(mailbox.text) == mailbox.domain


MAIL_PARAMETERS = st.builds(
    MailParameters,
    size=st.none() | st.integers(0, 10**12),
    body=st.none() | st.sampled_from(Body),
    smtputf8=st.booleans(),
    ret=st.none() | st.sampled_from(Ret),
    envid=st.none()
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30),
    requiretls=st.booleans(),
    auth=st.none() | PRINTABLE,
)
RCPT_PARAMETERS = st.builds(
    RcptParameters,
    notify=st.sampled_from(
        [
            frozenset(),
            frozenset({Notify.NEVER}),
            frozenset({Notify.SUCCESS, Notify.DELAY}),
            frozenset({Notify.FAILURE}),
        ]
    ),
    orcpt=st.none()
    | st.builds(
        OriginalRecipient,
        st.sampled_from(["rfc822", "x400"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    ),
)


@given(MAIL_PARAMETERS)
def test_mail_parameters_round_trip(parameters: MailParameters) -> None:
    assert MailParameters.parse(parameters.format()) == parameters


@given(RCPT_PARAMETERS)
def test_rcpt_parameters_round_trip(parameters: RcptParameters) -> None:
    assert RcptParameters.parse(parameters.format()) == parameters


def test_keywords_come_in_any_case_and_values_keep_theirs() -> None:
    assert MailParameters.parse(["ret=hdrs", "EnvId=QQ314159"]).envid == "QQ314159"
    orcpt = RcptParameters.parse(["orcpt=rfc822;Bob+2Bx@Example.COM"]).orcpt
    assert orcpt == OriginalRecipient("rfc822", "Bob+x@Example.COM")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["SIZE=abc"], 501),
        (["SIZE"], 501),
        (["SIZE=1", "SIZE=2"], 501),
        (["BODY=9BIT"], 501),
        (["RET=SOME"], 501),
        (["ENVID="], 501),
        (["ENVID=a=b"], 501),
        (["SMTPUTF8=yes"], 501),
        (["FOO=bar"], 555),
    ],
)
def test_bad_mail_parameters_get_the_right_reply(words: list[str], code: int) -> None:
    with pytest.raises(ParameterError) as caught:
        MailParameters.parse(words)
    assert caught.value.reply.code == code
    assert caught.value.reply.enhanced == "5.5.4"


@pytest.mark.parametrize(
    "words",
    [
        ["NOTIFY="],
        ["NOTIFY=SOMETIMES"],
        ["NOTIFY=NEVER,FAILURE"],
        ["NOTIFY=DELAY,DELAY"],
        ["ORCPT=joe@example.com"],
        ["ORCPT=rfc822;"],
        ["ORCPT=rfc822;a+0D+0Ab"],
        ["NOTIFY=DELAY", "notify=FAILURE"],
    ],
)
def test_bad_rcpt_parameters_are_refused(words: list[str]) -> None:
    with pytest.raises(ParameterError):
        RcptParameters.parse(words)


def test_reply_is_parsed_and_written() -> None:
    reply = Reply.parse_lines(["250-2.1.5 first", "250 2.1.5 second"])
    assert reply == Reply(250, "2.1.5", "first\nsecond")
    assert reply.wire() == b"250-2.1.5 first\r\n250 2.1.5 second\r\n"
    assert str(Reply(450, "4.2.0", "busy")) == "450 4.2.0 busy"
    assert Reply.parse_lines(["421"]) == Reply(421, "", "")
    assert Reply.parse_lines(["550 4.1.1 lies"]).enhanced == ""


@given(st.lists(st.text(max_size=30), max_size=4))
def test_reply_parser_refuses_or_returns_a_valid_code(lines: list[str]) -> None:
    try:
        reply = Reply.parse_lines(lines)
    except ValueError:
        return
    assert 200 <= reply.code <= 599


def test_times_of_new_identifiers_are_now() -> None:
    assert abs(identifiers.id_time(identifiers.new_id()) - time.time()) < 5


@pytest.mark.parametrize(
    ("sent", "kind", "address"),
    [
        ("rfc822;Bob+2Bx@there.example", "rfc822", "Bob+x@there.example"),
        ("utf-8;b\\x{F8}b@there.example", "utf-8", "bøb@there.example"),
        ("UTF-8;bøb\\x{2B}x@there.example", "UTF-8", "bøb+x@there.example"),
        ("utf-8;\\x{1F600}@there.example", "utf-8", "\U0001f600@there.example"),
    ],
)
def test_original_recipient_is_decoded_and_written_in_ascii_again(
    sent: str, kind: str, address: str
) -> None:
    original = OriginalRecipient.parse(sent)
    assert (original.kind, original.address) == (kind, address)
    assert str(original).isascii()
    assert OriginalRecipient.parse(str(original)).address == address


@pytest.mark.parametrize(
    "sent",
    [
        "ütf;bob@there.example",
        "utf-8;bob\\x{A}@there.example",
        "utf-8;bob\\x{D800}@there.example",
        "utf-8;bob\\x{110000}@there.example",
        "utf-8;b\\ob@there.example",
        "utf-8;b=ob@there.example",
        "rfc822;bøb@there.example",
    ],
)
def test_what_is_no_original_recipient_is_refused(sent: str) -> None:
    with pytest.raises(ParameterError):
        RcptParameters.parse([f"ORCPT={sent}"], smtputf8=True)


@given(text=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40))
def test_any_printable_address_round_trips_as_unitext(text: str) -> None:
    assert unitext.decode(unitext.encode(text)) == text


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [
        ("", "", ""),
        ("SUCCESS", "DELAY", "DELAY SUCCESS"),
        ("", "SUCCESS", "FAILURE SUCCESS"),
        ("NEVER", "", "FAILURE"),
        ("NEVER", "NEVER", "NEVER"),
        ("NEVER", "DELAY", "DELAY"),
    ],
)
def test_wishes_of_a_recipient_named_twice_are_united(one: str, other: str, united: str) -> None:
    wishes = unite_notify(*(frozenset(map(Notify, each.split())) for each in (one, other)))
    assert " ".join(sorted(wishes)) == united
