"""The examples and rules of W3C Trace Context, section 3.2."""

import pytest

from postroad_common.mail.tracecontext import TraceContext, parse_traceparent, read_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_traceparent_is_read_and_told_in_the_form_of_version_00() -> None:
    assert parse_traceparent(GOOD) == TraceContext(TRACE, SPAN, sampled=True)
    assert parse_traceparent(GOOD[:-1] + "0") == TraceContext(TRACE, SPAN, sampled=False)
    assert read_traceparent(f" {GOOD} ") == GOOD
    assert read_traceparent(f"cc-{TRACE}-{SPAN}-03-what-the-future-brings") == GOOD


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "nonsense",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01-" + "x" * 200,
    ],
    ids=["none", "empty", "text", "capitals", "ff", "no trace", "no span", "short", "00+", "long"],
)
def test_what_is_not_valid_is_as_if_it_were_not_there(value: str | None) -> None:
    assert read_traceparent(value) == ""
