"""Bodies in their three encodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import parse_form, parse_json, parse_multipart, require_text
from postroad_ingress_http.sending.request import read_send


def test_form_names_with_brackets_become_lists_and_objects():
    fields = parse_form(b"a=1&b[]=2&b[]=3&c[x]=4&c[y]=5&d=6&d=7&e=")
    assert fields == {
        "a": "1",
        "b": ["2", "3"],
        "c": {"x": "4", "y": "5"},
        "d": ["6", "7"],
        "e": "",
    }


def test_form_of_php_is_read_as_php_means_it():
    body = (
        b"recipients[0]=a@a.example&recipients[1]=b@b.example&to[]=a@a.example"
        b"&data[user][name]=Ann&data[lines][0][sku]=x&data[lines][1][sku]=y"
        b"&attachments[0][name]=a.txt&attachments[0][data]=eA=="
    )
    assert parse_form(body) == {
        "recipients": ["a@a.example", "b@b.example"],
        "to": ["a@a.example"],
        "data": {"user": {"name": "Ann"}, "lines": [{"sku": "x"}, {"sku": "y"}]},
        "attachments": [{"name": "a.txt", "data": "eA=="}],
    }
    deep = b"recipients[a@a.example][name]=Ann"
    assert parse_form(deep) == {"recipients": {"a@a.example": {"name": "Ann"}}}
    with pytest.raises(ApiError):
        parse_form(b"a" + b"[x]" * 9 + b"=1")


@pytest.mark.parametrize(
    ("written", "email", "url"),
    [
        ("https://a.example/u", None, "https://a.example/u"),
        ("<mailto:u@a.example>", "u@a.example", None),
        (["u@a.example", "http://a.example/u"], "u@a.example", "http://a.example/u"),
        (
            {"email": "u@a.example", "http": "https://a.example/u"},
            "u@a.example",
            "https://a.example/u",
        ),
    ],
)
def test_unsubscribe_is_taken_in_every_shape(written: object, email: str | None, url: str | None):
    read = read_send({"recipient": "a@a.example", "unsubscribe": written}).unsubscribe
    assert read is not None
    assert (read.email, read.url) == (email, url)


def test_json_of_php_is_read_as_php_means_it():
    read = read_send(
        {
            "recipients": {"0": "a@a.example", "1": "b@b.example"},
            "to": {"0": "a@a.example"},
            "attachments": {"0": {"name": "a.txt", "data": "eA=="}},
            "data": [],
            "extra": [],
            "dsn": [],
            "unsubscribe": [],
        }
    )
    assert read.recipients == ["a@a.example", "b@b.example"]
    assert read.to == ["a@a.example"]
    assert read.attachments is not None
    assert (read.data, read.extra, read.unsubscribe) == ({}, {}, None)
    keyed = read_send({"recipients": {"a@a.example": [], "b@b.example": {"n": 1}}})
    assert keyed.recipients == {"a@a.example": {}, "b@b.example": {"n": 1}}


@pytest.mark.parametrize("body", [b"a=1&a[x]=2", b"a[x]=1&a=2", b"a[x]=1&a[]=2"])
def test_form_field_of_two_kinds_is_refused(body: bytes):
    with pytest.raises(ApiError):
        parse_form(body)


def test_form_with_too_many_fields_is_refused():
    with pytest.raises(ApiError) as caught:
        parse_form(b"&".join(b"a=1" for _ in range(10_001)))
    assert caught.value.status == 400


@given(st.binary(min_size=1, max_size=300))
def test_any_octets_of_a_message_survive_a_form(octets: bytes):
    body = b"body=" + b"".join(b"%%%02X" % octet for octet in octets)
    assert read_send(parse_form(body)).mime == octets


def test_octets_that_are_no_utf8_are_refused_in_other_fields():
    value = parse_form(b"name=%FF")["name"]
    assert isinstance(value, str)
    with pytest.raises(ApiError):
        require_text("name", value)


def test_multipart_form_is_read():
    body = (
        b'--b\r\nContent-Disposition: form-data; name="envelope"\r\n\r\na@a.example\r\n'
        b'--b\r\nContent-Disposition: form-data; name="body"; filename="m.eml"\r\n'
        b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n\xff\r\n\r\n--b--\r\n"
    )
    fields = parse_multipart("multipart/form-data; boundary=b", body)
    assert fields["envelope"] == "a@a.example"
    assert read_send(fields).mime == b"Subject: x\r\n\r\n\xff\r\n"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        ("multipart/form-data; boundary=b", b"nothing"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\ncut',
        ),
    ],
)
def test_multipart_form_that_is_broken_is_refused(content_type: str, body: bytes):
    with pytest.raises(ApiError) as caught:
        parse_multipart(content_type, body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"\xff\xfe",
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
    ],
)
def test_json_that_is_no_object_is_refused(body: bytes):
    with pytest.raises(ApiError) as caught:
        parse_json(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")
