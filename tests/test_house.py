"""The house keeps its measure: short modules, requeues with a reason, names with one meaning."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from postroad_common.broker.consumer import Consumer
from postroad_common.broker.delivery import Delivery
from postroad_common.broker.requeued import note_requeued
from postroad_common.mail.requeue import RequeueReason
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job

ROOT = Path(__file__).resolve().parent.parent
LONGEST, MEDIAN = 400, 120
# The same part in several packages, so the same name; every other name has one meaning.
SAME_PART = {
    "Dependencies",
    "Envelope",
    "Handler",
    "IngressLimits",
    "Injector",
    "MailCommand",
    "RcptCommand",
    "Resolver",
    "Settings",
    "TlsFacts",
}


def modules() -> dict[str, str]:
    """Return the text of every source module: libraries, services, bench, scripts."""
    patterns = ("libs/*/src/**/*.py", "services/*/src/**/*.py", "bench/**/*.py", "scripts/*.py")
    return {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if "tests" not in path.relative_to(ROOT).parts
    }


def lengths() -> dict[str, int]:
    """Return the lines of every source module."""
    return {name: len(text.splitlines()) for name, text in modules().items()}


def test_no_module_is_longer_than_400_lines():
    assert {name for name, lines in lengths().items() if lines > LONGEST} == set()


def test_half_of_the_modules_are_shorter_than_120_lines():
    found = lengths()
    assert len(found) > 100
    assert median(found.values()) < MEDIAN


# -- requeues

RETURNING = {"basic_nack", "basic_reject", "basic_recover", "nack", "reject"}
GIVES_A_REASON = {
    Delivery: ("retry", "leave"),
    Consumer: ("hold", "left", "pause"),
    Job: ("nack",),
    Disposition: ("requeue", "requeue_early", "nack"),
}


def calls_of(text: str) -> Iterator[ast.Call]:
    """Return the calls of methods in a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


@pytest.mark.parametrize(
    ("kind", "verb"), [(kind, verb) for kind, verbs in GIVES_A_REASON.items() for verb in verbs]
)
def test_whoever_requeues_has_to_give_a_reason_of_the_one_list(kind: type, verb: str):
    reason = inspect.signature(getattr(kind, verb)).parameters["reason"]
    assert reason.annotation is RequeueReason
    assert reason.default is inspect.Parameter.empty


def test_nothing_goes_back_to_a_queue_but_through_a_call_that_has_a_reason():
    """No code sends a negative acknowledgement to the broker without a reason."""
    found = [
        (name, call.lineno)
        for name, text in modules().items()
        for call in calls_of(text)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in RETURNING
        and not any("reason" in ast.unparse(argument).lower() for argument in call.args)
    ]
    assert found == []


def test_class_name_has_one_meaning_in_the_whole_house():
    owners: dict[str, list[str]] = {}
    for name, text in modules().items():
        if "/src/" in name:
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    owners.setdefault(node.name, []).append(name)
    repeated = {name: where for name, where in owners.items() if len(where) > 1}
    assert {name: where for name, where in repeated.items() if name not in SAME_PART} == {}
    assert set(repeated) >= SAME_PART, "a name in SAME_PART is not shared any more"


def test_free_text_is_no_reason():
    with pytest.raises(TypeError):
        note_requeued("queue", "because")  # type: ignore[arg-type]
