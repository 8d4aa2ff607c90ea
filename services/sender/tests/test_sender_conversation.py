"""The conversation with all hosts that were tried, as the timeline shows it."""

import pytest

from postroad_sender.connect.destination import Destination
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.outcome import of_error
from postroad_sender.dns.resolver import MxHost, Resolver
from postroad_sender.routes.routes import Route
from postroad_smtp.client.session import ClientSession, Timeouts
from postroad_smtp.client.stage import WireError
from postroad_testing.dialogserver import DialogServer, Start

PATIENT = Timeouts(connect=60, greeting=60, command=60, block=60, dot=60)


async def opened(server: DialogServer) -> ClientSession:
    """Open a session where the first of two hosts does not listen."""
    hosts = (MxHost(0, "127.0.0.2"), MxHost(10, "127.0.0.1"))
    route = Route(domain="*", host="127.0.0.1", port=server.port)
    resolver = Resolver("127.0.0.1:53", "me.test")
    dialer = Dialer(resolver, "me.test", Contexts.make(), timeouts=PATIENT)
    return await dialer.open(Destination(LaneKey("", "x"), route, hosts, server.port))


async def test_all_that_was_tried_before_is_told_with_the_connection_that_worked(dialog: Start):
    server = await dialog("starttls_refused")
    session = await opened(server)
    lines = session.opening.split("\n")
    assert lines[0] == f"# 127.0.0.2: connection to 127.0.0.2:{server.port} refused"
    assert lines.count("C: STARTTLS") == 1
    assert "S: 454 4.7.0 not now" in lines
    assert lines[-1] == "S: 250 STARTTLS"
    session.quit()
    await server.finished()


async def test_host_that_cannot_be_reached_is_told_with_the_failure(dialog: Start):
    with pytest.raises(WireError) as caught:
        await opened(await dialog("refused_at_the_banner"))
    assert caught.value.said.split("\n")[0].endswith("refused")
    assert caught.value.said.endswith("S: 554 5.7.1 not you")
    assert of_error(caught.value).said == caught.value.said
