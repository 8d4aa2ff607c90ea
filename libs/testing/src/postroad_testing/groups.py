"""Which tests run in the same process of several (`-n`), and which groups of them are the first.

A group shares what it starts: a stack, server processes, dialogs. xdist's own `loadgroup` knows a
group by a suffix that it writes into the names of tests, which not every pytest lets it do: then
each test is a group of its own, and each process starts everything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


@dataclass(frozen=True)
class Groups:
    """How tests are divided.

    Attributes:
        together: groups by their names, each the folders and files whose tests share something;
            the tests of any other file are a group, too.
        longest: groups (names or files) that are given out first, so that all processes end at
            about the same time.
    """

    together: dict[str, Sequence[str]]
    longest: Sequence[str] = ()

    def of(self, test: str) -> str:
        """Return the group of a test, given its node id."""
        file = test.partition("::")[0]
        for name, places in self.together.items():
            if any(file == place or file.startswith(f"{place}/") for place in places):
                return name
        return file

    def ordered(self, tests: Iterable[pytest.Item]) -> list[pytest.Item]:
        """Return the tests with the longest groups first, the others as they were."""
        place = {name: number for number, name in enumerate(self.longest)}
        return sorted(tests, key=lambda test: place.get(self.of(test.nodeid), len(place)))


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups to processes, in the order of the tests; for the hook of that name."""

    def __init__(self, config: pytest.Config, log: Producer, groups: Groups) -> None:
        config.option.loadscopereorder = False  # by the number of tests, it would be
        super().__init__(config, log)
        self._groups = groups

    @override
    def _split_scope(self, nodeid: str) -> str:
        return self._groups.of(nodeid)
