"""Groups of tests stay together, in xdist's processes as well."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from postroad_testing.groups import Groups

CONFTEST = """
from pathlib import Path
import pytest
from postroad_testing.groups import Groups, GroupScheduling

GROUPS = Groups({"shared": ("b", "test_c.py")}, longest=("test_d.py", "shared"))

def pytest_xdist_make_scheduler(config, log):
    return GroupScheduling(config, log, GROUPS)

def pytest_collection_modifyitems(items):
    items[:] = GROUPS.ordered(items)

@pytest.fixture(autouse=True)
def note(request, worker_id):
    with Path("seen").open("a") as seen:
        seen.write(f"{worker_id} {request.node.path.name}\\n")
"""
FILES = ("test_a.py", "b/test_b1.py", "b/test_b2.py", "test_c.py", "test_d.py", "test_e.py")
TESTS = "import pytest\n\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n): pass\n"


def test_processes_are_given_whole_groups_and_the_longest_first(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "b").mkdir()
    for name in FILES:
        (tmp_path / name).write_text(TESTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "2", "--rootdir", str(tmp_path)),
            *("-p", "no:cacheprovider", "-p", "no:schemathesis", "--import-mode=importlib"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    processes: dict[str, set[str]] = defaultdict(set)
    order: dict[str, list[str]] = defaultdict(list)
    for line in (tmp_path / "seen").read_text().splitlines():
        process, file = line.split()
        processes[file].add(process)
        order[process].append(file)
    assert all(len(found) == 1 for found in processes.values()), processes
    assert processes["test_b1.py"] == processes["test_b2.py"] == processes["test_c.py"]
    assert {files[0] for files in order.values()} == {"test_d.py", "test_b1.py"}


def test_group_is_the_place_that_is_named_and_else_the_file():
    groups = Groups({"road": ("tests/road", "tests/test_alone.py")})
    assert groups.of("tests/road/test_x.py::test_y[a::b]") == "road"
    assert groups.of("tests/test_alone.py::test_y") == "road"
    assert groups.of("tests/roadside/test_x.py::Class::test_y") == "tests/roadside/test_x.py"
