"""Public returned mails with labels: how many are understood, with floors below which it fails.

The samples are not part of the project. They lie in the folder `bounces` of the folder that
POSTROAD_TEST_CASES names, with `labels.tsv` beside them: file, index of the recipient in it,
recipient, reason in sisimai's words, hard (1 or 0), status, code. Labels that we decide against,
and why, are listed in docs/bounces.md.
"""

import csv
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad_bounce_processor.understanding.record import ReturnKind, Understanding
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.classification import Classification
from postroad_common.mail.mime import read

_VARIABLE = "POSTROAD_TEST_CASES"
_FOLDER = Path(os.environ.get(_VARIABLE) or "/nonexistent") / "bounces"

with (Path(__file__).parent / "data" / "reasons.toml").open("rb") as _file:
    _RIGHT = {name: entry["classes"] for name, entry in tomllib.load(_file).items()}
_KINDS = {
    "feedback": {ReturnKind.COMPLAINT},
    "vacation": {ReturnKind.RESPONSE},
    "delivered": {ReturnKind.SUCCESS},
}
_FAILURES = {ReturnKind.BOUNCE, ReturnKind.DELAYED}


@dataclass(frozen=True)
class Sample:
    """One recipient of one labelled mail, and what was read from the mail."""

    name: str
    reason: str
    hard: bool
    found: Understanding

    @property
    def failed(self) -> bool:
        """Whether the label is that of a failure."""
        return self.reason not in _KINDS

    @property
    def unlabelled(self) -> bool:
        """Whether the labels give no reason either; any class will do then."""
        return self.reason in {"onhold", "undefined"}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    if not _FOLDER.is_dir():
        pytest.skip(f"{_VARIABLE} names no folder with `bounces` in it")
    with (_FOLDER / "labels.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Sample(
            name=row["file"],
            reason=row["reason"],
            hard=row["hard"] == "1",
            found=understand(read((_FOLDER / row["file"]).read_bytes()), expected=row["recipient"]),
        )
        for row in rows
    ]


def _share(good: list[Sample], whole: list[Sample]) -> float:
    assert whole
    return len(good) / len(whole)


def _report(wrong: list[Sample]) -> str:
    return "\n".join(
        f"{s.name}: {s.reason} hard={s.hard}, but {s.found.kind} {s.found.bounce_class} "
        f"hard={s.found.hard} {s.found.diagnostic[:120]}"
        for s in wrong
    )


def test_class_is_right_or_near_for_96_of_100_failures(samples: list[Sample]):
    failures = [s for s in samples if s.failed and not s.unlabelled]
    wrong = [s for s in failures if s.found.bounce_class not in _RIGHT[s.reason].split()]
    assert _share(wrong, failures) <= 0.04, _report(wrong)


def test_hard_and_soft_are_as_labelled_for_93_of_100_failures(samples: list[Sample]):
    failures = [s for s in samples if s.failed]
    wrong = [s for s in failures if s.found.hard != s.hard]
    assert _share(wrong, failures) <= 0.07, _report(wrong)


def test_of_what_is_called_hard_93_of_100_are_labelled_hard(samples: list[Sample]):
    called = [s for s in samples if s.found.hard]
    wrong = [s for s in called if not s.hard]
    assert _share(wrong, called) <= 0.07, _report(wrong)


def test_what_is_called_hard_is_labelled_as_the_address_or_as_its_own_filter(
    samples: list[Sample],
):
    of_the_address = {"userunknown", "hostunknown", "hasmoved", "notaccept", "filtered"}
    called = [s for s in samples if s.found.hard]
    # One sample's label speaks of another recipient of the same mail.
    wrong = [s for s in called if s.reason not in of_the_address and s.name != "rfc3464-01.eml"]
    assert not wrong, _report(wrong)


def test_kind_is_right_for_99_of_100_mails(samples: list[Sample]):
    wrong = [s for s in samples if s.found.kind not in _KINDS.get(s.reason, _FAILURES)]
    assert _share(wrong, samples) <= 0.01, _report(wrong)


def test_at_most_3_of_100_failures_are_undetermined(samples: list[Sample]):
    failures = [s for s in samples if s.failed]
    wrong = [s for s in failures if s.found.bounce_class is Classification.UNDETERMINED]
    assert _share(wrong, failures) <= 0.03, _report(wrong)
