"""A running sender, and sites that are one machine: the setting holds, and lanes say so."""

from dataclasses import replace
from typing import Any

from postroad_testing.waiting import until


async def test_lanes_to_one_address_share_what_the_setting_allows_and_show_what_they_wait_for(
    senders: Any, sink: Any, name_server: Any
):
    names = [f"d{number}.test" for number in range(6)]
    for name in names:
        name_server.zone[(name, "MX")] = [f"10 mx.{name}."]
        name_server.zone[(f"mx.{name}", "A")] = ["127.0.0.1"]
    sink.gate.clear()
    senders.permits = lambda _: True
    senders.timings = replace(senders.timings, save_every=0.2, directives_every=0.2)
    routes = [{"domain": "*", "port": sink.port, "tls": "none"}]
    await senders.start(routes, dns=name_server.address, sender_address_connections=2)
    await senders.put(*(f"u@{name}" for name in names))

    async def waiting() -> list[str]:
        return [
            effect.reason
            for record in await senders.database.lanes.list(limit=100)
            for effect in record.state.effects
            if effect.reason.startswith("waits for connections to 127.0.0.1")
        ]

    async def is_full() -> bool:
        """Whether it has settled: at the start the sender's share is that of its first shards."""
        reasons = await waiting()
        return sink.open == 2 and len(reasons) == 4 and all("2 of 2" in one for one in reasons)

    await until(is_full)
    sink.gate.set()
    await until(lambda: len(sink.taken) == 6)
    assert sink.refused == 0
