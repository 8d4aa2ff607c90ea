"""Lists of mailboxes, and the headers made of them."""

import email.policy
from email.parser import BytesParser

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from postroad_common.mail.address import AddressError, Mailbox
from postroad_ingress_http.sending.headers import address_header, parameter, text_header
from postroad_ingress_http.sending.mailboxes import NamedMailbox, parse_list


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@a.example", [("", "ann@a.example")]),
        ("Ann <ann@A.example>", [("Ann", "ann@a.example")]),
        ("Ann B. <a@a.example>, bob@b.example", [("Ann B.", "a@a.example"), ("", "bob@b.example")]),
        ('"Smith, Ann" <a@a.example>', [("Smith, Ann", "a@a.example")]),
        (r'"An \"A\" n" <a@a.example>', [('An "A" n', "a@a.example")]),
        ("Jürgen <j@bücher.example>", [("Jürgen", "j@xn--bcher-kva.example")]),
        ('"a b"@a.example', [("", '"a b"@a.example')]),
        (" , a@a.example,, ", [("", "a@a.example")]),
        ("", []),
    ],
)
def test_list_is_read_as_people_write_it(text: str, expected: list[tuple[str, str]]):
    found = [(entry.name, entry.mailbox.text) for entry in parse_list(text)]
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "ann",
        "Ann <ann>",
        "Ann <a@a.example",
        '"Ann <a@a.example>',
        "<a@a.example> <b@a.example>",
        "<a@a.example> Ann",
        "a@a.example\r\nBcc: x@x.example",
        "Ann\n<a@a.example>",
        "a@a.example\0",
        "@a.example:b@b.example",
        "a b@a.example c",
        ",".join(["a@a.example"] * 1001),
    ],
)
def test_list_that_is_none_is_refused(text: str):
    with pytest.raises(AddressError):
        parse_list(text)


_names = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=60
).map(lambda name: " ".join(name.split()))


@given(st.lists(_names, min_size=1, max_size=5))
def test_any_display_name_comes_back_from_the_header(names: list[str]):
    entries = [
        NamedMailbox(name, Mailbox(f"user{number}", "a.example"))
        for number, name in enumerate(names)
    ]
    raw = address_header("To", entries)
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    header = BytesParser(policy=email.policy.default).parsebytes(raw + b"\r\n")["To"]
    assert [address.addr_spec for address in header.addresses] == [
        entry.mailbox.text for entry in entries
    ]
    if all(name.isascii() and "=?" not in name for name in names):
        assert [address.display_name for address in header.addresses] == names


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300))
def test_any_subject_comes_back_from_the_header(text: str):
    raw = text_header("Subject", text)
    assert raw.endswith(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert raw.isascii()
    lines = raw.removesuffix(b"\r\n").split(b"\r\n")
    assert all(line.startswith((b" ", b"\t")) and line.strip() for line in lines[1:])
    message = BytesParser(policy=email.policy.default).parsebytes(raw + b"\r\n")
    assert message["Subject"].split() == text.split()


@given(_names)
def test_any_file_name_comes_back_from_the_parameter(name: str):
    assume(not (name.startswith("<") and name.endswith(">")))  # the parser strips such brackets
    raw = b"Content-Disposition: attachment" + parameter("filename", name).encode() + b"\r\n\r\n"
    message = BytesParser(policy=email.policy.compat32).parsebytes(raw)
    found = message.get_filename()
    assert found == name
