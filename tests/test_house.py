"""The house keeps its measure: modules that can be read in one sitting."""

from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
LONGEST, MEDIAN = 400, 120
# Still to be parted; nothing may be added.
TOO_LONG = {
    "libs/common/src/postroad_common/broker/consumer.py",
    "libs/common/src/postroad_common/schemas/events.py",
}


def lengths() -> dict[str, int]:
    """Return the lines of every source module: libraries, services, bench, scripts."""
    patterns = ("libs/*/src/**/*.py", "services/*/src/**/*.py", "bench/**/*.py", "scripts/*.py")
    return {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if "tests" not in path.relative_to(ROOT).parts
    }


def test_no_module_is_longer_than_400_lines():
    assert {name for name, lines in lengths().items() if lines > LONGEST} <= TOO_LONG


def test_half_of_the_modules_are_shorter_than_120_lines():
    found = lengths()
    assert len(found) > 100
    assert median(found.values()) < MEDIAN
