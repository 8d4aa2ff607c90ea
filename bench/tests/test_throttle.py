"""The throttling bench, in short."""

from xml.etree import ElementTree as ET

from bench.throttle.plot import plot
from bench.throttle.scenarios import SCENARIOS, postfix_rows, run
from bench.throttle.wire import ScriptedReceiver, measure


def test_postfix_table_has_a_row_for_each_of_its_rules_and_one_for_ours():
    assert len(postfix_rows()) == 2 + 3 + 1


def test_plot_is_well_formed_and_as_long_as_the_run():
    scenario = SCENARIOS[0]
    root = ET.fromstring(  # noqa: S314 - our own
        plot("a < b", run(scenario).timeline, scenario.capacities())
    )
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [scenario.seconds] * 2


async def test_hidden_connection_limit_over_real_sockets_defers_nothing():
    receiver = ScriptedReceiver(connections=3)
    speed, deferred = await measure(receiver, seconds=3.0, steady=1.0)
    assert deferred == 0.0
    assert receiver.refused > 0
    assert speed > 30
