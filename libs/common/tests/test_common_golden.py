"""Golden files: what is on queues and in stores today must be read by every later version.

A file never changes; a new one is added where a field is. They were written by the version before
the events had types.
"""

import json
from pathlib import Path

import pytest

from postroad_common.schemas.archive import ArchiveBatch, ArchivedMail
from postroad_common.schemas.bundle import bundle, unbundle
from postroad_common.schemas.eventdata import EventData
from postroad_common.schemas.events import AnyEvent, EventBatch, EventName, read_event, recall
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.lanes import LaneEffect, LearntLimits, StoredDirectives, StoredState
from postroad_common.schemas.model import Schema
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.returns import DeliveryFailure, Return
from postroad_common.schemas.submission import Submission

GOLDEN = Path(__file__).with_name("golden")
EVENTS = sorted((GOLDEN / "events").glob("*.json"))
KINDS: dict[str, type[Schema]] = {
    "submission": Submission,
    "archived": ArchivedMail,
    "batch": ArchiveBatch,
    "outbound": OutboundMessage,
    "return": Return,
    "failure": DeliveryFailure,
    "events": EventBatch,
}
FRAMES = sorted((GOLDEN / "frames").glob("*.frame"))
BUNDLES = sorted((GOLDEN / "bundles").glob("*.bundle"))
LANES = sorted((GOLDEN / "lanes" / "documents").glob("*.json"))


def assert_same(text: bytes, golden: bytes) -> None:
    """Fail unless they have the same octets; fields alone may stand in another order."""
    assert json.loads(text) == json.loads(golden)
    assert sorted(text) == sorted(golden)


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: file.stem)
def test_event_is_read_and_written_again_with_the_same_octets(file: Path):
    line = file.read_bytes().rstrip(b"\n")
    event = read_event(line)
    assert_same(event.wire(), line)
    assert event.event == json.loads(line)["event"]
    assert not event.data.model_extra, "a field of the wire has no type"


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: file.stem)
def test_event_from_the_store_is_what_was_stored(file: Path):
    values = json.loads(file.read_bytes())
    assert_same(recall({"data": {}, **values}).wire(), file.read_bytes().rstrip(b"\n"))


def test_every_event_and_frame_has_a_file():
    assert {read_event(file.read_bytes()).event for file in EVENTS} == set(EventName)
    assert {file.stem.partition("-")[0] for file in FRAMES} == set(KINDS)


@pytest.mark.parametrize("file", FRAMES, ids=lambda file: file.stem)
def test_frame_is_read_and_written_again_with_the_same_octets(file: Path):
    frame = file.read_bytes()
    envelope, body = decode(KINDS[file.stem.partition("-")[0]], frame)
    again = encode(envelope, body)
    assert again[:8] == frame[:8]
    end = len(frame) - len(body)
    assert_same(again[8:end], frame[8:end])
    assert again[end:] == frame[end:] == bytes(body)


@pytest.mark.parametrize("file", BUNDLES, ids=lambda file: file.stem)
def test_bundle_is_taken_apart_and_put_together_again_with_the_same_octets(file: Path):
    body = file.read_bytes()
    frames = unbundle(body)
    assert [type(decode(KINDS[file.stem], frame)[0]) for frame in frames] == [KINDS[file.stem]] * 2
    assert bundle(frames) == body


def test_what_a_newer_version_tells_is_passed_on_and_what_an_older_one_left_out_has_a_default():
    line = (
        b'{"id":"1","event":"clicked","message":"m","time":1.0,"later":2,'
        b'"data":{"machine":true,"place":{"x":1}}}'
    )
    event = read_event(line)
    assert event.data.model_extra == {"place": {"x": 1}}
    assert event.wire() == line.replace(b'"later":2,', b"")
    assert event.data.kind is None


def test_an_event_of_the_past_with_another_type_is_read_all_the_same():
    values = {"id": "1", "event": "failed", "message": "m", "account": "a", "time": 1.0}
    event = recall({**values, "data": {"code": "none", "tls": {"version": "1.3"}}})
    assert event.event is EventName.FAILED
    assert event.facts == {"code": "none", "tls": {"version": "1.3"}}
    assert isinstance(event.data, EventData)


def test_the_union_has_each_name_once():
    names = [kind.name for kind in AnyEvent.__origin__.__args__]
    assert sorted(names) == sorted(EventName)


@pytest.mark.parametrize("file", LANES, ids=lambda file: file.stem)
def test_document_of_a_lane_is_read_and_written_again_as_it_was(file: Path):
    document = json.loads(file.read_bytes())
    state = StoredState.read(document["state"])
    assert_same(json.dumps(state.document()).encode(), json.dumps(document["state"]).encode())
    given = document.get("order", {})
    directives = StoredDirectives.read(given)
    assert_same(json.dumps(directives.document()).encode(), json.dumps(given).encode())
    parts = [state, directives, state.learnt]
    assert not any(part.model_extra for part in parts if part is not None), "a field has no type"


def test_lanes_in_the_golden_files_have_every_field():
    documents = [json.loads(file.read_bytes()) for file in LANES]
    states = [document["state"] for document in documents]
    orders = [document.get("order", {}) for document in documents]
    effects = [effect for state in states for effect in state["effects"]]
    for model, found in (
        (StoredState, states),
        (LaneEffect, effects),
        (LearntLimits, [state["learnt"] for state in states]),
        (StoredDirectives, orders),
    ):
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert {name for one in found for name in one} == fields


def test_what_a_newer_version_tells_of_a_lane_is_kept_and_what_is_not_understood_left_out():
    effects = [{"kind": "pause", "value": 5}, {"kind": "later", "value": 1}]
    document = {"phase": "open", "later": {"x": 1}, "busy": "many", "effects": effects}
    assert StoredState.read(document).document() == {
        "phase": "open",
        "later": {"x": 1},
        "effects": effects[:1],
    }
    learnt = {"strikes": 2, "reasons": {"rate": ["450", 1.0], "later": ["450", 1.0]}, "gain": 7}
    assert StoredState.read({"learnt": learnt}).document() == {
        "learnt": {"strikes": 2, "reasons": {"rate": ["450", 1.0]}}
    }
