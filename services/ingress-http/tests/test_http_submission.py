"""From fields to a submission: precedence, names, times, and every refusal with its field."""

from dataclasses import replace
from typing import Any

import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.submission import Client
from postroad_common.store.sendingrights import SendingRights
from postroad_ingress_http.http.errors import ApiError, from_exception
from postroad_ingress_http.sending.permissions import check_account, check_sender
from postroad_ingress_http.sending.request import read_send
from postroad_ingress_http.sending.routing import read_recipients
from postroad_ingress_http.sending.submission import (
    Mail,
    Prepared,
    RequestOrigin,
    SubmissionRules,
    prepare,
)

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
RULES = SubmissionRules(hostname="mail.example", max_message_size=10_000, deliver_seconds=86_400)
MAX_RECIPIENTS = 5
ORIGIN = RequestOrigin("main", "token", Client(ip="192.0.2.1"))
MIME = "From: a@a.example\nTo: b@b.example\nSubject: Hi\n\nhello\n"
WHOLE = {"envelope": "a@a.example", "recipient": "b@b.example", "mime": MIME}
BUILT = {"recipient": "b@b.example", "from": "a@a.example", "text": "hello"}


def prepared(fields: dict[str, Any]) -> Prepared:
    request = read_send(fields)
    recipients = [each.mailbox for each in read_recipients(request, MAX_RECIPIENTS)]
    return prepare(Mail(request, recipients), ORIGIN, RULES, NOW, lambda _: new_id(NOW))


def test_whole_message_goes_on_with_crlf_and_nothing_else_changed():
    result = prepared(WHOLE)
    assert result.message == MIME.replace("\n", "\r\n").encode()
    assert result.submission.subject == "Hi"
    assert result.submission.envelope == "a@a.example"
    assert result.submission.size == len(result.message)
    assert list(result.answer().values()) == ["b@b.example"]


@pytest.mark.parametrize(
    "mime",
    [
        "\ufeff" + MIME,
        "From ann@a.example Sat Jan  3 2026\n" + MIME,
        "\ufeff\ufeff>From ann@a.example Sat Jan  3 2026\n" + MIME,
        MIME.replace("\n", "\r\r\n"),
        MIME.replace("\n", "\r"),
    ],
)
def test_what_files_have_around_a_message_is_left_out(mime: str):
    assert prepared({**WHOLE, "mime": mime}).message == MIME.replace("\n", "\r\n").encode()


def test_features_left_out_are_those_of_rest():
    features = prepared(WHOLE).submission.features
    assert features.model_dump() == {
        "inlinecss": False,
        "clicktracking": True,
        "openstracking": True,
        "preventscam": False,
        "bouncetracking": True,
    }


@pytest.mark.parametrize(
    ("field", "feature"),
    [
        ("inlinizecss", "inlinecss"),
        ("inlinecss", "inlinecss"),
        ("clicktracking", "clicktracking"),
        ("trackclicks", "clicktracking"),
        ("openstracking", "openstracking"),
        ("trackopens", "openstracking"),
        ("bouncetracking", "bouncetracking"),
        ("trackbounces", "bouncetracking"),
        ("preventscam", "preventscam"),
        ("TrackClicks", "clicktracking"),
    ],
)
@pytest.mark.parametrize("value", [True, False, "true", "false", "1", "0"])
def test_every_name_of_a_feature_switches_it(field: str, feature: str, value: object):
    features = prepared({**WHOLE, field: value}).submission.features
    assert getattr(features, feature) is (value in {True, "true", "1"})


def test_header_wins_over_field_and_is_taken_out():
    mime = "X-SMTPeter-TrackClicks: false\nx-postroad-inlinecss: true\n" + MIME
    result = prepared({**WHOLE, "mime": mime, "trackclicks": True, "inlinecss": False})
    assert result.submission.features.clicktracking is False
    assert result.submission.features.inlinecss is True
    assert b"smtpeter" not in result.message.lower()
    assert b"postroad" not in result.message.lower()


def test_recipients_as_list_map_and_commas_are_each_one_mail():
    several: list[object] = [
        ["b@b.example", "c@c.example, b@b.example"],
        ["b@b.example", "c@c.example", '"b"@B.example'],
        {"b@b.example": {}, "c@c.example": {"name": "C"}},
        "b@b.example,c@c.example",
    ]
    for recipients in several:
        fields = {"envelope": "a@a.example", "mime": MIME, "recipients": recipients}
        answer = prepared(fields).answer()
        assert list(answer.values()) == ["b@b.example", "c@c.example"]
        assert len(answer) == 2


@pytest.mark.parametrize(
    ("entry", "addresses"),
    [
        ('"a, b"@b.example, c@c.example', ['"a, b"@b.example', "c@c.example"]),
        ('c@c.example,"a \\", b"@b.example,', ["c@c.example", '"a \\", b"@b.example']),
        (' "<,>"@b.example ,<"d"@d.example>', ['"<,>"@b.example', '"d"@d.example']),
        ('"a", b@b.example', None),
        ('"a, b@b.example, c@c.example', None),
    ],
)
def test_a_comma_between_quotes_parts_no_addresses(entry: str, addresses: list[str] | None):
    fields = {"envelope": "a@a.example", "mime": MIME, "recipients": [entry]}
    if addresses is None:
        with pytest.raises(ApiError) as caught:
            prepared(fields)
        assert caught.value.field == "recipients.0"
    else:
        assert list(prepared(fields).answer().values()) == addresses


def test_an_original_recipient_belongs_to_all_recipients():
    fields = {**WHOLE, "recipient": None, "recipients": ["b@b.example", "c@c.example"]}
    submission = prepared({**fields, "dsn": {"orcpt": "team@x.example"}}).submission
    assert [each.orcpt for each in submission.recipients] == ["rfc822;team@x.example"] * 2


@pytest.mark.parametrize(
    "address",
    [
        f"{'v' * 70}+caf_=someone=list.example@b.example",
        "a..b@docomo.example",
        "a.@au.example",
        ".a@b.example",
        f"{'x' * 244}@b.example",
    ],
)
def test_addresses_in_use_that_rfc_5321_forbids_are_passed_on_as_they_came(address: str):
    assert list(prepared({**WHOLE, "recipient": address}).answer().values()) == [address]
    fields = {**WHOLE, "mime": None, "from": address, "to": address, "text": "x"}
    assert f"From: {address}\r\nTo: {address}\r\n" in prepared(fields).message.decode()


def test_address_of_more_than_254_octets_is_refused():
    with pytest.raises(ApiError) as caught:
        prepared({**WHOLE, "recipient": f"{'x' * 245}@b.example"})
    assert caught.value.field == "recipient"


def test_recipient_named_twice_is_one_whatever_the_form_of_its_domain():
    names = ["b@B.example", "b@b.EXAMPLE", "b@bücher.example", "b@xn--bcher-kva.example"]
    fields = {"envelope": "a@a.example", "mime": MIME, "recipients": names}
    answer = prepared(fields).answer()
    assert list(answer.values()) == ["b@b.example", "b@xn--bcher-kva.example"]


def test_envelope_left_out_or_empty_is_the_null_sender():
    for envelope in (None, "", "<>"):
        assert prepared({**WHOLE, "envelope": envelope}).submission.envelope == ""


def test_dsn_wishes_tags_and_times_arrive_typed():
    submission = prepared(
        {
            **WHOLE,
            "dsn": {
                "notify": "FAILURE,DELAY",
                "ret": "full",
                "envid": "abc+1",
                "orcpt": "rfc822;x@x.example",
            },
            "tags": ["one", "two,three"],
            "sendat": "2026-11-18 12:00:00",
            "maxdelivertime": "2026-11-19T12:00:00Z",
        }
    ).submission
    assert submission.recipients[0].notify == ("failure", "delay")
    assert submission.recipients[0].orcpt == "rfc822;x@x.example"
    assert (submission.ret, submission.envid) == ("full", "abc+1")
    assert submission.tags == ("one", "two", "three")
    assert submission.send_at == NOW + 3200
    assert submission.expires == NOW + 3200 + 86_400


def test_sendat_in_the_past_sends_at_once():
    submission = prepared({**WHOLE, "sendat": "2020-01-01 00:00:00"}).submission
    assert submission.send_at is None
    assert submission.expires == NOW + 86_400


def test_internationalised_recipient_asks_for_smtputf8():
    assert prepared({**WHOLE, "recipient": "jürgen@b.example"}).submission.smtputf8
    assert not prepared({**WHOLE, "recipient": "j@bücher.example"}).submission.smtputf8


def test_built_message_has_id_and_date_of_the_submission():
    result = prepared(BUILT)
    assert f"<{result.submission.id}@mail.example>".encode() in result.message
    assert b"Date: Wed, 18 Nov 2026 11:06:40" in result.message


REFUSALS: list[tuple[str, dict[str, Any], str | None]] = [
    ("no recipient", {"mime": MIME}, "recipient"),
    ("both recipients", {**WHOLE, "recipients": ["c@c.example"]}, "recipients"),
    ("recipient is no address", {**WHOLE, "recipient": "nobody"}, "recipient"),
    ("recipient with a name", {**WHOLE, "recipient": "B <b@b.example>"}, "recipient"),
    ("CR LF in recipient", {**WHOLE, "recipient": "b@b.example\r\nRCPT TO:<c@c>"}, "recipient"),
    ("CR LF in envelope", {**WHOLE, "envelope": "a@a.example\r\nDATA"}, "envelope"),
    ("NUL in envelope", {**WHOLE, "envelope": "a\0@a.example"}, "envelope"),
    ("recipient is a number", {**WHOLE, "recipient": 5}, "recipient"),
    (
        "second entry is no address",
        {"mime": MIME, "recipients": ["b@b.example", "x"]},
        "recipients.1",
    ),
    ("no entries", {"mime": MIME, "recipients": []}, "recipients"),
    ("too many", {"mime": MIME, "recipients": [f"u{n}@b.example" for n in range(6)]}, "recipients"),
    ("nothing to send", {"recipient": "b@b.example"}, "mime"),
    ("from without text", {"recipient": "b@b.example", "from": "a@a.example"}, "text"),
    ("two senders", {**BUILT, "from": "a@a.example, b@a.example"}, "from"),
    ("CR LF in subject", {**BUILT, "subject": "x\r\nBcc: c@c.example"}, "subject"),
    ("LF in subject", {**BUILT, "subject": "x\nBcc: c@c.example"}, "subject"),
    ("CR LF in from", {**BUILT, "from": "A\r\nX: <a@a.example>"}, "from"),
    ("CR LF in to", {**BUILT, "to": ["b@b.example\r\nX: y"]}, "to"),
    ("CR LF in cc", {**BUILT, "cc": "b@b.example\nX: y"}, "cc"),
    ("CR LF in replyto", {**BUILT, "replyto": "b@b.example\rX: y"}, "replyto"),
    ("CR LF in extra value", {**BUILT, "extra": {"x-a": "b\r\nc"}}, "extra.x-a"),
    ("CR LF in extra name", {**BUILT, "extra": {"x-a\r\nb": "c"}}, "extra"),
    ("extra without x-", {**BUILT, "extra": {"Bcc": "c@c.example"}}, "extra"),
    (
        "CR LF in file name",
        {**BUILT, "attachments": [{"data": "eA==", "name": "a\r\nb"}]},
        "attachments.0.name",
    ),
    (
        "CR LF in file type",
        {**BUILT, "attachments": [{"data": "eA==", "type": "a/b\r\nX: y"}]},
        "attachments.0.type",
    ),
    ("file not base64", {**BUILT, "attachments": [{"data": "***"}]}, "attachments.0.data"),
    ("file without data", {**BUILT, "attachments": [{"name": "x"}]}, "attachments.0.data"),
    (
        "file with url and data",
        {**BUILT, "attachments": [{"url": "http://a.example/", "data": "eA=="}]},
        "attachments.0.url",
    ),
    (
        "file is a message",
        {**BUILT, "attachments": [{"data": "eA==", "type": "message/rfc822"}]},
        "attachments.0.type",
    ),
    ("attachments is text", {**BUILT, "attachments": "x"}, "attachments"),
    ("unsubscribe empty", {**BUILT, "unsubscribe": {}}, "unsubscribe"),
    (
        "unsubscribe to javascript",
        {**BUILT, "unsubscribe": {"url": "javascript:x"}},
        "unsubscribe.url",
    ),
    (
        "unsubscribe injects",
        {**BUILT, "unsubscribe": {"url": "https://x.example/>\r\nX: y"}},
        "unsubscribe.url",
    ),
    (
        "one click without https",
        {**BUILT, "unsubscribe": {"email": "a@a.example", "oneclick": True}},
        "unsubscribe.oneclick",
    ),
    ("mime and html", {**WHOLE, "html": "<p>"}, "html"),
    ("mime and body", {**WHOLE, "body": MIME}, "body"),
    ("mime empty", {**WHOLE, "mime": " "}, "mime"),
    ("mime without header", {**WHOLE, "mime": "hello there\n"}, "mime"),
    ("mime without From", {**WHOLE, "mime": "To: a@a.example\n\nFrom: a@a.example\n"}, "mime"),
    ("mime with two From", {**WHOLE, "mime": "FROM : b@b.example\n" + MIME}, "mime"),
    ("mime with NUL", {**WHOLE, "mime": MIME + "\0"}, "mime"),
    ("mime with a long line", {**WHOLE, "mime": MIME + "x" * 999}, "mime"),
    (
        "bad control header",
        {**WHOLE, "mime": "x-smtpeter-trackclicks: maybe\n" + MIME},
        "x-smtpeter-trackclicks",
    ),
    ("feature is a word", {**WHOLE, "inlinecss": "perhaps"}, "inlinecss"),
    ("feature twice", {**WHOLE, "inlinecss": True, "inlinizecss": True}, "inlinizecss"),
    ("unknown field", {**WHOLE, "colour": "red"}, "colour"),
    ("tag with a space", {**WHOLE, "tags": ["a b"]}, "tags"),
    ("tags is an object", {**WHOLE, "tags": {"a": 1}}, "tags"),
    ("notify unknown", {**WHOLE, "dsn": {"notify": "ALWAYS"}}, "dsn.notify"),
    ("notify never and failure", {**WHOLE, "dsn": {"notify": "NEVER,FAILURE"}}, "dsn.notify"),
    ("ret unknown", {**WHOLE, "dsn": {"ret": "HALF"}}, "dsn.ret"),
    ("envid with CR LF", {**WHOLE, "dsn": {"envid": "a\r\nb"}}, "dsn.envid"),
    ("dsn unknown", {**WHOLE, "dsn": {"when": "x"}}, "dsn.when"),
    ("dsn is text", {**WHOLE, "dsn": "x"}, "dsn"),
    ("time unknown", {**WHOLE, "maxdelivertime": "tomorrow"}, "maxdelivertime"),
    ("time impossible", {**WHOLE, "sendat": "2026-13-41 00:00:00"}, "sendat"),
    ("time past", {**WHOLE, "maxdelivertime": "2020-01-01 00:00:00"}, "maxdelivertime"),
    (
        "gives up before it begins",
        {**WHOLE, "sendat": "2026-11-20 00:00:00", "maxdelivertime": "2026-11-19 00:00:00"},
        "maxdelivertime",
    ),
    ("too far ahead", {**WHOLE, "sendat": "2027-11-20 00:00:00"}, "sendat"),
    ("token in the body", {**WHOLE, "access_token": "x"}, "access_token"),
]


@pytest.mark.parametrize(
    ("fields", "field"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_bad_request_is_refused_by_its_field(fields: dict[str, Any], field: str):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it becomes is checked below
        prepared(fields)
    assert isinstance(caught.value, Exception)
    error = from_exception(caught.value)
    assert isinstance(error, ApiError), caught.value
    assert error.status == 400
    assert error.field == field, error.message
    assert error.message.endswith(".")


def test_message_above_the_limit_is_413():
    with pytest.raises(ApiError) as caught:
        prepared({**WHOLE, "mime": MIME + "x\n" * 5000})
    assert caught.value.status == 413


RESTRICTED = SendingRights(domains=frozenset({"a.example"}))
BOUND = replace(ORIGIN, sender_domains=("a.example", "*.a.example"))


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        (WHOLE, None, None),
        (BUILT, None, None),
        ({**BUILT, "envelope": "x@sub.a.example"}, None, None),
        ({**BUILT, "from": "x@bank.example"}, "sender_not", "from"),
        ({**BUILT, "envelope": "x@bank.example"}, "sender_not", "envelope"),
        ({**WHOLE, "mime": MIME.replace("a@a", "a@b")}, "sender_not", "mime"),
        ({**WHOLE, "mime": MIME.replace("a@a.example", "a@a.example, b@bank.example")},
         "sender_not", "mime"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bound", ["account", "token"])
def test_mail_is_from_domains_that_account_and_token_may_send_from(
    fields: dict[str, Any], code: str | None, field: str | None, bound: str
):
    rights = RESTRICTED if bound == "account" else SendingRights()
    origin = BOUND if bound == "token" else ORIGIN
    if code is None:
        check_sender(rights, origin, prepared(fields))
        return
    with pytest.raises(ApiError) as caught:
        check_sender(rights, origin, prepared(fields))
    assert (caught.value.status, caught.value.field) == (403, field)
    assert caught.value.code.startswith(code)


def test_account_that_is_suspended_or_at_its_limit_sends_nothing():
    for rights, status in (
        (SendingRights(suspended=True), 403),
        (SendingRights(left_today=2), 429),
    ):
        with pytest.raises(ApiError) as caught:
            check_account(rights, 3)
        assert caught.value.status == status
    check_account(SendingRights(left_today=3), 3)
