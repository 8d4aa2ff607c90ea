"""MTA-STS as text: records, policies, patterns."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroad_sender.tls.mta_sts import (
    MAX_AGE_MOST,
    Mode,
    MtaStsPolicy,
    PolicyError,
    parse,
    record_id,
)

GOOD = "version: STSv1\nmode: enforce\nmx: mx.d.test\nmax_age: 86400\n"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ;\tid=1 ; more=x.y "], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=STSv1; more=1; id=2"], "2"),
        (["v=spf1 -all", "v=STSv1; id=1", "v=STSv10; id=2"], "1"),
        ([], None),
        (["v=spf1 -all"], None),
        (["v=STSv1; id=1", "v=STSv1; id=1"], None),
        (["v=STSv1; id=1", "v=STSv1; rubbish"], None),
        (["v=stsv1; id=1"], None),
        ([" v=STSv1; id=1"], None),
        (["v=STSv1"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id="], None),
        (["v=STSv1; id=a-b"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv1; id=1;; more=1"], None),
        (["v=STSv1; id=1; more"], None),
        (["v=STSv1; id=\u0661"], None),
    ],
)
def test_record_announces_a_policy_only_if_it_is_right_and_alone(
    texts: list[str], found: str | None
):
    assert record_id(texts) == found


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (GOOD, MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 86400)),
        (GOOD.replace("\n", "\r\n"), MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 86400)),
        (GOOD.rstrip("\n"), MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 86400)),
        (
            "mode:testing\nmx: MX.d.test \nmx:\t*.d.test\nmx: mx.d.test\nmax_age: 1\nversion:STSv1",
            MtaStsPolicy(Mode.TESTING, ("mx.d.test", "*.d.test"), 1),
        ),
        ("version: STSv1\nmode: none\nmax_age: 60", MtaStsPolicy(Mode.NONE, (), 60)),
        (GOOD + "mode: none\nmax_age: 5\n", MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 86400)),
        (GOOD + "\nx-more: \u00e9 b; c\n", MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 86400)),
        (
            GOOD.replace("86400", "9999999999"),
            MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), MAX_AGE_MOST),
        ),
    ],
)
def test_policy_is_read_as_rfc_8461_has_it(text: str, policy: MtaStsPolicy):
    assert parse(text.encode()) == policy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no version"),
        (GOOD.replace("version: STSv1\n", ""), "no version"),
        (GOOD.replace("mode: enforce\n", ""), "no mode"),
        (GOOD.replace("max_age: 86400\n", ""), "no max_age"),
        (GOOD.replace("mx: mx.d.test\n", ""), "no mx"),
        (GOOD.replace("STSv1", "STSv2"), "the version is not STSv1"),
        (GOOD.replace("enforce", "Enforce"), "the mode is not"),
        (GOOD.replace("86400", "-1"), "max_age is no number"),
        (GOOD.replace("86400", "1d"), "max_age is no number"),
        (GOOD.replace("86400", "\u0661"), "max_age is no number"),
        (GOOD.replace("86400", "10000000000"), "max_age is no number"),
        (GOOD.replace("mx.d.test", "*.*.test"), "line 3: not an mx pattern"),
        (GOOD.replace("mx.d.test", "*"), "line 3: not an mx pattern"),
        (GOOD.replace("mx.d.test", "m*.d.test"), "line 3: not an mx pattern"),
        (GOOD.replace("mx.d.test", ".d.test"), "line 3: not an mx pattern"),
        (GOOD.replace("mx.d.test", "b\u00fccher.test"), "line 3: not an mx pattern"),
        (GOOD.replace("mx.d.test", "a" * 64 + ".test"), "line 3: not an mx pattern"),
        ("<html>\n" + GOOD, "line 1 is no field"),
        (GOOD + "\x00: 1", "line 5 is no field"),
        (GOOD.replace("\n", "\r"), "line 1 is no field"),
        (GOOD + "".join(f"mx: {n}.test\n" for n in range(100)), "more than 100"),
    ],
)
def test_anything_else_is_no_policy_and_says_why(text: str, problem: str):
    with pytest.raises(PolicyError, match=problem):
        parse(text.encode())


def test_octets_that_are_no_text_are_no_policy():
    with pytest.raises(PolicyError, match="UTF-8"):
        parse(GOOD.encode() + b"\xff")


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(GOOD.encode())
def test_any_octets_are_a_policy_or_a_clear_error(octets: bytes):
    with suppress(PolicyError):
        policy = parse(octets)
        assert policy.mx or policy.mode is Mode.NONE
        assert 0 <= policy.max_age <= MAX_AGE_MOST


@given(st.lists(st.text(max_size=60) | st.text("vSTid=1; ", max_size=20).map("v=STSv1;".__add__)))
def test_any_texts_announce_a_fitting_id_or_nothing(texts: list[str]):
    found = record_id(texts)
    assert found is None or (found.isalnum() and found.isascii() and len(found) <= 32)


@given(
    st.sampled_from(Mode),
    st.lists(st.from_regex(r"(\*\.)?[a-z0-9]{1,9}(\.[a-z]{1,9}){0,3}", fullmatch=True), min_size=1),
    st.integers(0, MAX_AGE_MOST),
)
def test_every_policy_that_is_written_is_read_again(mode: Mode, mx: list[str], age: int):
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in mx), f"max_age: {age}"]
    assert parse("\r\n".join(lines).encode()) == MtaStsPolicy(mode, tuple(dict.fromkeys(mx)), age)


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("mx.d.test", True),
        ("MX.D.test.", True),
        ("a.wild.test", True),
        ("other.d.test", False),
        ("x.mx.d.test", False),
        ("a.b.wild.test", False),
        ("wild.test", False),
        (".wild.test", False),
        ("awild.test", False),
        ("*.wild.test", True),  # no host has such a name
        ("", False),
    ],
)
def test_pattern_with_a_star_covers_exactly_one_label(host: str, covered: bool):  # noqa: FBT001
    policy = MtaStsPolicy(Mode.ENFORCE, ("mx.d.test", "*.wild.test"), 1)
    assert policy.covers(host) is covered
