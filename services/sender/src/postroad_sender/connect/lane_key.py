"""The name of a lane, in memory as in the store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneKey:
    """`source` is a local address, empty for the system's choice."""

    source: str
    site: str

    def __str__(self) -> str:
        return f"{self.source}|{self.site}"
