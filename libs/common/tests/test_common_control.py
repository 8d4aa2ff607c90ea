import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.control import MAX_INVALID_LINES, ControlError, header_end, read_controls

MAIL = b"From: a@b.c\r\nSubject: x\r\n\r\nx-smtpeter-inlinecss: true\r\nbody\r\n"


def with_headers(*lines: bytes) -> bytes:
    return b"From: a@b.c\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\nbody\r\n"


def test_message_without_control_headers_is_not_copied() -> None:
    assert read_controls(MAIL).stripped is MAIL


@pytest.mark.parametrize(
    ("line", "feature", "value"),
    [
        (b"x-smtpeter-inlinecss: true", "inlinecss", True),
        (b"X-SMTPeter-InlineCSS:FALSE", "inlinecss", False),
        (b"x-smtpeter-inlinizecss: 1", "inlinecss", True),
        (b"x-smtpeter-trackclicks: yes", "clicktracking", True),
        (b"x-smtpeter-trackopens:\r\n on", "openstracking", True),
        (b"x-smtpeter-trackbounces: off", "bouncetracking", False),
        (b"x-postroad-preventscam: No", "preventscam", False),
        (b"x-postroad-clicktracking: 0", "clicktracking", False),
    ],
)
def test_switch_is_read_in_every_spelling_and_taken_out(
    line: bytes,
    feature: str,
    value: bool,  # noqa: FBT001
) -> None:
    controls = read_controls(with_headers(line, b"Subject: hello"))
    assert controls.features == {feature: value}
    assert controls.stripped == with_headers(b"Subject: hello")


def test_tags_add_up_and_repeat_only_once() -> None:
    controls = read_controls(
        with_headers(b"x-smtpeter-tags: a, b;c", b"Subject: s", b"x-postroad-tags: c,d")
    )
    assert controls.tags == ("a", "b", "c", "d")


def test_hosted_images_and_unknown_control_headers() -> None:
    controls = read_controls(with_headers(b"x-smtpeter-images: hosted", b"x-smtpeter-future: 7"))
    assert controls.images_hosted is True
    assert controls.stripped == with_headers()


@pytest.mark.parametrize(
    ("line", "header"),
    [
        (b"x-smtpeter-inlinecss: maybe", "x-smtpeter-inlinecss"),
        (b"x-smtpeter-inlinecss:", "x-smtpeter-inlinecss"),
        (b"x-postroad-trackopens: 2", "x-smtpeter-trackopens"),
        (b"x-smtpeter-tags: two words", "x-smtpeter-tags"),
        (b"x-smtpeter-images: somewhere", "x-smtpeter-images"),
    ],
)
def test_bad_value_names_the_header(line: bytes, header: str) -> None:
    with pytest.raises(ControlError) as caught:
        read_controls(with_headers(line))
    assert caught.value.header == header


def test_control_headers_in_the_body_are_content() -> None:
    mail = b"x-smtpeter-tags: t\r\n\r\nx-smtpeter-tags: u\r\n"
    controls = read_controls(mail)
    assert controls.tags == ("t",)
    assert controls.stripped == b"\r\nx-smtpeter-tags: u\r\n"


@given(st.binary(max_size=300))
def test_any_octets_are_read_without_a_crash_and_nothing_but_the_headers_changes(
    raw: bytes,
) -> None:
    try:
        controls = read_controls(raw)
    except ControlError:
        return
    assert controls.stripped.endswith(raw[header_end(raw) :])


@given(st.sampled_from([b"\r\n", b"\n"]), st.binary(max_size=50))
def test_header_ends_behind_the_first_blank_line(end: bytes, body: bytes) -> None:
    raw = b"A: b" + end + end + body
    assert raw[header_end(raw) :] == body


def test_text_and_unsubscribe_are_switches_that_may_be_left_out():
    controls = read_controls(
        b"X-Postroad-TextFromHtml: yes\r\nx-smtpeter-unsubscribe: false\r\n\r\n"
    )
    assert (controls.text_from_html, controls.list_unsubscribe) == (True, False)
    assert controls.stripped == b"\r\n"
    untold = read_controls(b"x-smtpeter-tags: a\r\n\r\n")
    assert (untold.text_from_html, untold.list_unsubscribe) == (None, None)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"From a@b.test Sat Jan  3 2026\r\n"])
@pytest.mark.parametrize("number", [1, MAX_INVALID_LINES])
def test_controls_behind_bad_lines_of_a_header_are_read_and_taken_out(before: bytes, number: int):
    bad = b"this line is no field\r\n" * number
    raw = before + b"Subject: s\r\n" + bad + b"X-Postroad-Tags: t\r\nTo: a@b.test\r\n\r\ntext\r\n"
    controls = read_controls(raw)
    assert controls.tags == ("t",)
    assert controls.stripped == raw.replace(b"X-Postroad-Tags: t\r\n", b"")


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_text_that_no_blank_line_parts_from_the_header_holds_no_controls(end: bytes):
    text = (b"a line of text" + end) * (MAX_INVALID_LINES + 1)
    raw = b"Subject: s" + end + text + b"X-Postroad-Tags: t" + end + end + b"more" + end
    controls = read_controls(raw)
    assert controls.tags == ()
    assert controls.stripped == raw


def test_list_is_named_in_lower_case_without_odd_spaces() -> None:
    assert read_controls(b"X-Postroad-List:  Weekly\r\n  News \r\n\r\n").list == "weekly news"
    assert read_controls(b"X-SMTPeter-Tags: a\r\n\r\n").list is None
    with pytest.raises(ControlError):
        read_controls(b"X-Postroad-List: " + b"x" * 201 + b"\r\n\r\n")


def test_trace_is_read_in_either_spelling_and_one_that_is_not_valid_is_no_fault():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for name in ("X-Postroad-Traceparent", "x-smtpeter-traceparent"):
        controls = read_controls(f"{name}: {trace}\r\nSubject: Hi\r\n\r\nHi".encode())
        assert controls.traceparent == trace
        assert controls.stripped == b"Subject: Hi\r\n\r\nHi"
    assert read_controls(b"X-Postroad-Traceparent: new\r\n\r\nHi").traceparent == ""
