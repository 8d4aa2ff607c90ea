"""`python -m bench.throttle`: the tables; with `--write` docs/throttling.md and its plots."""

import argparse
import asyncio
import logging
import re
import sys
from pathlib import Path

import structlog

from bench.throttle import distance, fairness, real
from bench.throttle.plot import plot
from bench.throttle.postfix import postfix_rows
from bench.throttle.scenarios import SCENARIOS, rows, run

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PLOTTED = (
    "connection-steps-10",
    "rate-5",
    "rate-50",
    "rate-steps-50",
    "rate-steps-5",
    "penalty-grows",
    "tarpit",
)
_TABLE = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


async def _real_tables() -> dict[str, list[str]]:
    """Those that take real time: about four and a half minutes."""
    fair = await asyncio.gather(*map(fairness.wire_row, (fairness.FEW, fairness.MANY)))
    return {
        "fairness": fairness.rows(fair),
        "wire": await real.rows(),
        "distance": await distance.rows(),
    }


def main() -> int:
    """Run everything; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.throttle", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/throttling")
    parser.add_argument("--virtual", action="store_true", help="leave the real sockets out")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    tables = {"postfix": postfix_rows(), "receivers": rows()}
    if not options.virtual:
        tables |= asyncio.run(_real_tables())
    for name, lines in tables.items():
        print(f"\n{name}\n" + "\n".join(lines))
    if options.write:
        for scenario in SCENARIOS:
            if scenario.name in PLOTTED:
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
