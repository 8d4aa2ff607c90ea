import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventBatch, accepted, read_event
from postroad_common.schemas.features import REST_DEFAULTS, Features
from postroad_common.schemas.framing import FrameError, decode, encode
from postroad_common.schemas.outbound import OutboundMessage, Patch
from postroad_common.schemas.submission import Recipient, Submission
from postroad_testing import factories


def submission(**changes: object) -> Submission:
    values: dict[str, object] = {
        "id": new_id(),
        "account": "main",
        "credential": "abc",
        "source": "smtp",
        "received": 1.5,
        "envelope": "",
        "recipients": (Recipient(id=new_id(), address="a@b.test", notify=("delay",)),),
        "features": Features(inlinecss=True),
        "expires": 2.5,
        "size": 4,
    }
    return Submission.model_validate(values | changes)


@given(st.binary(max_size=500))
def test_frame_carries_the_message_as_it_is(body: bytes) -> None:
    sent = submission(envid="x", ret="hdrs")
    received, content = decode(Submission, encode(sent, body))
    assert received == sent
    assert bytes(content) == body


def test_thousand_recipients_fit_a_frame() -> None:
    many = tuple(Recipient(id=new_id(), address=f"user{n}@b.test") for n in range(1000))
    assert decode(Submission, encode(submission(recipients=many)))[0].recipients == many


@given(st.binary(max_size=100))
def test_octets_that_are_no_frame_are_refused(octets: bytes) -> None:
    with pytest.raises(FrameError):
        decode(Submission, octets)


def test_frame_of_another_kind_is_refused_with_the_field_that_is_wrong() -> None:
    frame = encode(EventBatch(events=()))
    with pytest.raises(FrameError, match="not a Submission: id"):
        decode(Submission, frame)


def test_frame_cut_short_is_refused() -> None:
    frame = encode(submission(), b"")
    for end in range(0, len(frame), 7):
        with pytest.raises(FrameError):
            decode(Submission, frame[:end])


def test_field_of_a_newer_version_is_ignored() -> None:
    frame = encode(submission(), b"body")
    text = frame[8:-4].replace(b'{"id"', b'{"later":[1],"id"')
    newer = frame[:4] + len(text).to_bytes(4, "big") + text + b"body"
    assert bytes(decode(Submission, newer)[1]) == b"body"


def test_patches_keep_their_octets() -> None:
    message = factories.outbound(patches=(Patch(at=3, data=b"\x00\xff\r\n"),))
    assert decode(OutboundMessage, encode(message))[0] == message


def test_overrides_win_over_the_login_in_both_directions() -> None:
    login = Features(clicktracking=True)
    assert login.overridden({"clicktracking": False, "inlinecss": True}) == Features(inlinecss=True)
    assert login.overridden({}) is login
    assert Features(clicktracking=True, openstracking=True, bouncetracking=True) == REST_DEFAULTS


def test_the_same_acceptance_told_twice_is_the_same_event() -> None:
    one = submission()
    first, second = (accepted(one, one.recipients[0]) for _ in range(2))
    assert first == second
    assert read_event(first.wire()) == first
