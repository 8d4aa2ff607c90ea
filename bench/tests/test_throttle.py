"""The throttling bench, in short."""

import asyncio
from xml.etree import ElementTree as ET

import pytest
from bench.throttle.fairness import FEW, jain, letters, shares
from bench.throttle.plot import plot
from bench.throttle.postfix import POSTFIX_FEEDBACK, PUBLISHED, simulate_postfix
from bench.throttle.receiver import Line, ScriptedReceiver
from bench.throttle.scenarios import SCENARIOS, row, run
from bench.throttle.simulation import Receiver, always, simulate
from bench.throttle.wire import drive

from postroad_sender.throttle.controller import Caps


@pytest.mark.parametrize("feedback", POSTFIX_FEEDBACK)
def test_model_reproduces_the_deferrals_that_postfix_publishes(feedback: str):
    receiver = Receiver(connections=always(5), round_trip=0.002)
    result = simulate_postfix(receiver, 300, POSTFIX_FEEDBACK[feedback])
    assert 100 * result.deferred_share == pytest.approx(PUBLISHED[feedback], abs=2.0)


def test_plot_is_well_formed_and_as_long_as_the_run():
    scenario = SCENARIOS[0]
    root = ET.fromstring(  # noqa: S314 - our own
        plot("a < b", run(scenario).timeline, scenario.capacities())
    )
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [scenario.seconds] * 2


def test_row_tells_deferred_and_used():
    scenario = SCENARIOS[0]
    cells = [cell.strip() for cell in row(scenario, [(run(scenario), 0.0)]).split("|")]
    assert cells[1:3] == [scenario.title, "0.00 %"]
    assert float(cells[3].removesuffix(" %")) > 97


def test_account_with_a_mailing_gets_the_same_as_the_others():
    receiver = Receiver(rate=always(20))
    result = simulate(receiver, 40, caps=Caps(connections=50), letters=letters(FEW))
    assert jain(shares(result, FEW)) >= 0.97


async def test_line_delays_what_is_on_its_way_once_and_keeps_the_order():
    reader = asyncio.StreamReader()
    line, began = Line(0.05, reader), asyncio.get_running_loop().time()
    for number in range(20):
        line.put(b"%d\n" % number)
    line.put(b"")
    assert await reader.read() == b"".join(b"%d\n" % number for number in range(20))
    assert 0.04 <= asyncio.get_running_loop().time() - began < 0.5


async def test_hidden_connection_limit_over_real_sockets_defers_nothing():
    receiver = ScriptedReceiver(Receiver(connections=always(3), seconds=0.02))
    result = await drive(receiver, 2.0)
    assert result.deferred == 0
    assert result.refused_connections > 0
    assert result.delivered > 60
