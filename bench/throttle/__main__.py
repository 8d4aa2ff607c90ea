"""`python -m bench.throttle`: the tables; with `--write` docs/throttling.md and its plots."""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from bench.throttle.plot import plot
from bench.throttle.scenarios import SCENARIOS, postfix_rows, rows, run
from bench.throttle.wire import wire_rows

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_TABLE = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Run everything; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.throttle", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/throttling")
    parser.add_argument("--virtual", action="store_true", help="leave the real sockets out")
    options = parser.parse_args()
    tables = {"postfix": postfix_rows(), "receivers": rows()}
    if not options.virtual:
        tables["wire"] = asyncio.run(wire_rows())
    for name, lines in tables.items():
        print(f"\n{name}\n" + "\n".join(lines))
    if options.write:
        for scenario in SCENARIOS:
            path = DOCS / "throttling" / f"{scenario.name}.svg"
            path.write_text(plot(scenario.title, run(scenario).timeline, scenario.capacities()))
        page = DOCS / "throttling.md"
        page.write_text(
            _TABLE.sub(
                lambda found: (
                    found[1] + "\n".join(tables[found[2]]) + "\n" + found[3]
                    if found[2] in tables
                    else found[0]
                ),
                page.read_text(),
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
