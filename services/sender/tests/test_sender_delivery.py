"""The whole sender against real RabbitMQ and MongoDB and receiving servers on loopback."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from postroad_common.broker import topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName
from postroad_common.schemas.outbound import OutboundRecipient, Patch
from postroad_testing.factories import MIME
from postroad_testing.forwarder import Forwarder
from postroad_testing.process import ServiceProcess
from postroad_testing.queues import channel
from postroad_testing.waiting import until


async def settled(sender: Any) -> None:
    """Wait until nothing is on the shards: neither mail nor what asks who owns them."""
    await until(lambda: _is(sender.queues.depth(*SHARDS), 0))


async def left_on_shards(sender: Any) -> list[bytes]:
    """Take the mail that no sender took; what asks who owns a shard has no content.

    As a consumer, for a queue with a single active consumer has no other way.
    """
    found: list[bytes] = []
    async with channel(sender.queues.amqp_url) as opened:
        for shard in SHARDS:
            queue = await opened.get_queue(shard)
            async with queue.iterator() as messages:
                for _ in range(queue.declaration_result.message_count or 0):
                    message = await anext(messages)
                    await message.ack()
                    found.append(message.body)
    return [body for body in found if body]


@pytest.fixture
def sender(senders: Any) -> Any:
    """Return senders that try again soon."""
    senders.settings["retry_schedule"] = "0.2"
    return senders


def to(sink: Any, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"domain": domain, "host": "127.0.0.1", "port": sink.port, "tls": "none", **more}


SHARDS = [queue.name for queue in topology.SHARD_QUEUES]
TIERS = [tier.queue.name for tier in topology.RETRY_TIERS]


def came_back() -> float:
    """Count the mail whose age was measured as it came from a retry tier."""
    counts = [
        REGISTRY.get_sample_value("postroad_queue_age_seconds_count", {"queue": tier})
        for tier in TIERS
    ]
    return sum(count or 0.0 for count in counts)


async def test_message_is_delivered_with_one_event_and_leaves_the_queue(sender: Any, sink: Any):
    await sender.start([to(sink)])
    message = await sender.hand_in("u@d.test")
    (event,) = await sender.told(EventName.DELIVERED)
    assert sink.taken == [("bounce+x@bounce.test", ["u@d.test"], MIME)]
    assert (event.id, event.account) == (f"{message.id}.delivered.0", "acme")
    assert event.facts["reply"] == "250 2.0.0 queued"
    assert event.facts["host"] == "127.0.0.1"
    assert event.facts["provider"] == "other"
    await settled(sender)
    await sender.stop()
    await sender.read()
    assert len(sender.events) == 1
    assert sender.failures == []
    assert await left_on_shards(sender) == []


async def test_rcpt_refused_with_4xx_is_retried_for_that_recipient_only(sender: Any, sink: Any):
    sink.refuse["slow"] = ["450 4.2.1 come back", "250 2.1.5 ok"]
    before = came_back()
    await sender.start([to(sink)])
    message = await sender.hand_in("slow@d.test", "quick@d.test")
    await sender.told(EventName.DELIVERED, 2)
    assert sink.recipients == ["quick@d.test", "slow@d.test"]
    (deferred,) = sender.named(EventName.DEFERRED)
    assert deferred.message == message.recipients[0].id
    assert deferred.facts["reply"] == "450 4.2.1 come back"
    assert deferred.facts["next"] > deferred.time
    late = next(e for e in sender.named(EventName.DELIVERED) if e.message == deferred.message)
    assert late.facts["attempt"] == 1
    assert came_back() > before


async def test_rcpt_refused_with_5xx_fails_and_goes_to_the_bounce_processor(sender: Any, sink: Any):
    sink.refuse["nobody"] = ["550 5.1.1 no such user"]
    await sender.start([to(sink)])
    message = await sender.hand_in("nobody@d.test")
    (event,) = await sender.told(EventName.FAILED)
    assert event.facts["code"] == 550
    ((failure, quoted),) = sender.failures
    assert failure.outcome == "failed"
    assert failure.outbound.recipients == message.recipients
    assert (failure.code, failure.enhanced, failure.stage) == (550, "5.1.1", "rcpt")
    assert failure.reply == "550 5.1.1 no such user"
    assert quoted == b"Subject: hello\r\nFrom: a@b.test\r\n\r\n"


async def test_host_that_is_down_defers_and_gets_the_message_when_it_is_back(
    sender: Any, sink: Any
):
    await sink.stop()
    await sender.start([to(sink)])
    await sender.hand_in("u@d.test")
    deferred = await sender.told(EventName.DEFERRED)
    assert "refused" in deferred[0].facts["reply"]
    await sink.start()
    await sender.told(EventName.DELIVERED)
    assert sink.recipients == ["u@d.test"]


async def test_message_whose_time_is_over_expires_with_the_last_reason(sender: Any, sink: Any):
    sink.refuse["u"] = ["450 4.2.1 never today"]
    await sender.start([to(sink)])
    await sender.hand_in("u@d.test", expires=time.time() + 4)
    (event,) = await sender.told(EventName.FAILED)
    assert event.facts["expired"] is True
    assert "never today" in event.facts["reply"]
    ((failure, _),) = sender.failures
    assert (failure.outcome, failure.enhanced) == ("expired", "5.4.7")


async def test_success_notification_is_relayed_where_the_next_host_does_not_know_dsn(
    sender: Any, sink: Any
):
    await sender.start([to(sink)])
    recipient = OutboundRecipient(id=new_id(), address="u@d.test", notify=("success",))
    await sender.hand_in("u@d.test", recipients=(recipient,))
    await sender.told(EventName.DELIVERED)
    ((failure, _),) = sender.failures
    assert failure.outcome == "relayed"


async def test_success_notification_is_left_to_a_host_that_knows_dsn(sender: Any, sink: Any):
    sink.dsn = True
    await sender.start([to(sink)])
    recipient = OutboundRecipient(id=new_id(), address="u@d.test", notify=("success",))
    await sender.hand_in("u@d.test", recipients=(recipient,))
    await sender.told(EventName.DELIVERED)
    assert sender.failures == []


async def test_delay_is_told_once_after_four_hours(sender: Any, sink: Any):
    sink.refuse["u"] = ["450 4.2.1 later", "450 4.2.1 later", "250 2.1.5 ok"]
    await sender.start([to(sink)])
    await sender.hand_in("u@d.test", received=time.time() - 5 * 3600)
    await sender.told(EventName.DELIVERED)
    assert len(sender.named(EventName.DEFERRED)) == 2
    assert [failure.outcome for failure, _ in sender.failures] == ["delayed"]


async def test_delay_of_mail_for_later_counts_from_its_time(sender: Any, sink: Any):
    sink.refuse["u"] = ["450 4.2.1 later", "250 2.1.5 ok"]
    await sender.start([to(sink)])
    now = time.time()
    await sender.hand_in("u@d.test", received=now - 5 * 3600, send_at=now - 60)
    await sender.told(EventName.DELIVERED)
    assert len(sender.named(EventName.DEFERRED)) == 1
    assert sender.failures == []


async def test_message_delivered_before_a_crash_is_told_again_but_not_sent_again(
    sender: Any, sink: Any, tmp_path: Path
):
    message_id = new_id()
    line = json.dumps([message_id, {"reply": "250 2.0.0 taken", "host": "mx.test"}])
    (tmp_path / "me.test").mkdir()
    (tmp_path / "me.test" / "delivered.journal").write_text(f'{line}\n["half a li')
    await sender.start([to(sink)])
    recipient = OutboundRecipient(id=message_id, address="u@d.test")
    await sender.hand_in("u@d.test", recipients=(recipient,))
    (event,) = await sender.told(EventName.DELIVERED)
    assert event.id == f"{message_id}.delivered.0"
    assert event.facts["reply"] == "250 2.0.0 taken"
    assert sink.taken == []
    await settled(sender)
    await sender.stop()
    assert await left_on_shards(sender) == []


async def test_what_a_crash_left_untold_is_told_although_others_have_yet_to_be_sent(
    sender: Any, sink: Any, tmp_path: Path
):
    first, second = new_id(), new_id()
    line = json.dumps([first, {"reply": "250 2.0.0 taken", "host": "mx.test"}])
    (tmp_path / "me.test").mkdir()
    (tmp_path / "me.test" / "delivered.journal").write_text(f"{line}\n")
    await sender.start([to(sink)])
    recipients = (
        OutboundRecipient(id=first, address="u@d.test"),
        OutboundRecipient(id=second, address="v@d.test"),
    )
    await sender.hand_in("u@d.test", recipients=recipients)
    events = await sender.told(EventName.DELIVERED, 2)
    assert {event.id for event in events} == {f"{first}.delivered.0", f"{second}.delivered.0"}
    assert sink.recipients == ["v@d.test"]


async def test_success_notification_that_a_crash_left_undone_is_written_by_the_next_process(
    sender: Any, sink: Any, tmp_path: Path
):
    recipient = OutboundRecipient(id=new_id(), address="u@d.test", notify=("success",))
    await sender.start([to(sink)])
    await sender.hand_in("u@d.test", recipients=(recipient,))
    await sender.told(EventName.DELIVERED)
    await sender.stop()
    sender.failures.clear()
    journal = tmp_path / "me.test" / "delivered.journal"
    delivered, handed_on = journal.read_text().splitlines()
    assert json.loads(handed_on) == [f"{recipient.id}.0", {}]
    journal.write_text(f"{delivered}\n")  # as if it had been killed before the report was safe
    await sender.start([to(sink)])
    await sender.hand_in("u@d.test", recipients=(recipient,))
    await sender.told(EventName.DELIVERED, 2)
    ((failure, _),) = sender.failures
    assert (failure.outcome, failure.outbound.recipients) == ("relayed", (recipient,))
    assert sink.recipients == ["u@d.test"]


async def test_copy_that_comes_while_the_message_is_under_way_is_not_sent(sender: Any, sink: Any):
    sink.gate.clear()
    await sender.start([to(sink)])
    message = await sender.hand_in("u@d.test")
    await until(lambda: len(sink.commands) == 1)
    for _ in range(3):
        await sender.hand_in("u@d.test", id=message.id, recipients=message.recipients)
    await sender.hand_in("last@d.test")
    sink.gate.set()
    await sender.told(EventName.DELIVERED, 2)
    await settled(sender)
    await sender.stop()
    assert sorted(sink.recipients) == ["last@d.test", "u@d.test"]
    assert await left_on_shards(sender) == []


async def test_stored_body_is_fetched_patched_and_put_behind_the_header(sender: Any, sink: Any):
    await sender.start([to(sink)])
    stored = b"Subject: old\r\n\r\n" + b"<a href=X>\r\n" * 50_000
    reference = await sender.database.bodies.put(stored, time.time() + 3600)
    head = b"Subject: new\r\n\r\n"
    patches = (Patch(at=25, data=b"12345"), Patch(at=len(stored), data=b".end\r\n"))
    await sender.hand_in(
        "u@d.test", octets=head, size=len(stored), body=reference, skip=16, patches=patches
    )
    await sender.told(EventName.DELIVERED)
    ((_, _, data),) = sink.taken
    expected = head + stored[16:25] + b"12345" + stored[25:] + b"..end\r\n"
    assert data == expected


async def test_recipients_of_several_domains_each_go_to_their_own(
    sender: Any, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    other = await more_sinks()
    await sender.start([to(sink, "one.test"), to(other, "two.test")])
    await sender.hand_in("a@one.test", "b@two.test", "c@one.test")
    await sender.told(EventName.DELIVERED, 3)
    assert sink.recipients == ["a@one.test", "c@one.test"]
    assert other.recipients == ["b@two.test"]


async def test_slow_destination_does_not_delay_the_others_of_its_shard(
    sender: Any, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    stuck = await more_sinks()
    stuck.gate.clear()
    await sender.start([to(stuck, "stuck.test", connections=2), to(sink)], sender_shard_prefetch=20)
    # five times as much for the stuck destination as one shard may have in memory
    await sender.put(*(f"u{number}@stuck.test" for number in range(100)), shard=SHARDS[0])
    await sender.put(*(f"u{number}@fast.test" for number in range(50)), shard=SHARDS[0])
    await until(lambda: len(sink.taken) == 50)
    assert stuck.taken == []
    stuck.gate.set()
    await until(lambda: len(stuck.taken) == 100)
    await sender.told(EventName.DELIVERED, 150)
    assert sorted(stuck.recipients) == sorted(f"u{number}@stuck.test" for number in range(100))


async def test_connection_limit_of_the_receiver_is_found_without_deferring_a_message(
    sender: Any, sink: Any
):
    sink.most_connections = 3
    sink.gate.clear()
    await sender.start([to(sink)])
    for number in range(400):
        await sender.hand_in(f"u{number}@d.test")
    sink.gate.set()
    await sender.told(EventName.DELIVERED, 400)
    assert sink.refused > 0
    assert sender.named(EventName.DEFERRED) == []
    assert len(sink.taken) == 400


async def test_drain_finishes_what_is_under_way_and_leaves_the_rest_on_the_queue(
    sender: Any, sink: Any
):
    sink.gate.clear()
    await sender.start([to(sink, connections=1)])
    for number in range(30):
        await sender.hand_in(f"u{number}@d.test")
    await until(lambda: len(sink.commands) == 1)  # its MAIL: the first one is under way
    draining = asyncio.create_task(sender.stop())
    await asyncio.sleep(0)
    sink.gate.set()
    await draining
    assert len(sink.taken) == 1
    await until(lambda: _is(sender.queues.depth(*SHARDS), 29))
    await sender.start([to(sink)])
    await until(lambda: len(sink.recipients) >= 30, what="all are delivered")
    assert sorted(sink.recipients) == sorted(f"u{number}@d.test" for number in range(30))


async def _is(value: Awaitable[int], expected: int) -> bool:
    return await value == expected


async def test_octets_that_are_no_message_go_to_the_dead_letters(sender: Any, sink: Any):
    await sender.start([to(sink)])
    await sender.queues.put(SHARDS[0], [b"nonsense"])
    await until(lambda: _is(sender.queues.depth("sender.shard.dead"), 1))
    await sender.hand_in("u@d.test")
    await sender.told(EventName.DELIVERED)


async def test_broker_connection_lost_in_mid_flight_causes_no_duplicates(
    sender: Any, sink: Any, amqp_url: str
):
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    sink.gate.clear()
    context = await sender.start([to(sink)], amqp_url=url)
    for number in range(50):
        await sender.hand_in(f"u{number}@d.test")
    await until(lambda: len(sink.commands) >= 2)
    await line.close()  # as when the broker restarts: all is brought again
    await until(lambda: not context.link.up.is_set())
    await line.open()
    await until(context.link.up.is_set)
    sink.gate.set()
    await sender.told(EventName.DELIVERED, 50)
    await settled(sender)
    await sender.stop()
    await line.close()
    assert sorted(sink.recipients) == sorted(f"u{number}@d.test" for number in range(50))
    assert await left_on_shards(sender) == []


async def test_process_killed_in_mid_flow_loses_nothing_and_repeats_only_what_was_under_way(
    sender: Any, sink: Any, amqp_url: str, mongodb_uri: str, tmp_path: Path
):
    most = 5
    await sender.put(*(f"u{number}@d.test" for number in range(1500)))
    process = ServiceProcess(
        "sender",
        tmp_path / "sender.log",
        AMQP_URL=amqp_url,
        MONGODB_URI=mongodb_uri,
        SPOOL_DIR=str(tmp_path),
        ROUTES=json.dumps([to(sink, connections=most)]),
    )
    with process.start():
        for share in (200, 700):
            await until(lambda share=share: len(sink.taken) > share)
            await process.kill()
            process.start()
        await until(lambda: len(set(sink.recipients)) == 1500)
        assert await process.end() == 0
    assert len(sink.taken) - 1500 <= 2 * most
    # Some are told twice: by the process that was killed, and by the next one from the journal.
    await sender.read()
    assert len({event.id for event in sender.named(EventName.DELIVERED)}) == 1500
    assert await left_on_shards(sender) == []


async def test_operator_pauses_and_resumes_a_lane_and_its_state_can_be_read(sender: Any, sink: Any):
    sender.timings = replace(sender.timings, directives_every=0.2, save_every=0.4)
    await sender.start([to(sink)])
    await sender.hand_in("first@d.test")
    await sender.told(EventName.DELIVERED)
    lanes = sender.database.lanes
    key = f"|127.0.0.1:{sink.port}"
    await lanes.direct(key, {"paused": True, "reason": "they asked us to wait"})

    async def shown(phase: str) -> bool:
        record = await lanes.get(key)
        return record is not None and record.state.phase == phase

    await until(lambda: shown("paused"))
    await sender.hand_in("second@d.test")
    (waiting,) = await sender.told(EventName.DEFERRED)
    assert waiting.facts["reason"] == "delivery suspended: they asked us to wait"
    assert sink.recipients == ["first@d.test"]
    await lanes.direct(key, {"paused": None})
    await sender.told(EventName.DELIVERED, 2)  # not when a retry tier brings it, minutes later
    await until(lambda: shown("idle"))


async def test_message_is_not_held_in_memory_for_longer_than_the_broker_allows(
    sender: Any, sink: Any
):
    sender.timings = replace(sender.timings, held_longest=0.2)
    await sender.start([to(sink, messages_per_second=0.01)])
    for number in range(5):
        await sender.hand_in(f"u{number}@d.test")
    await sender.told(EventName.DELIVERED)
    await until(lambda: _is(sender.queues.depth(*TIERS), 4))
    await settled(sender)
    assert len(sink.taken) == 1


async def test_mail_that_waits_at_a_start_is_not_sent_round_the_shards(sender: Any, sink: Any):
    def rerouted() -> float:
        return REGISTRY.get_sample_value("postroad_sender_rerouted_total") or 0.0

    for number in range(40):
        await sender.hand_in(f"u@d{number}.test")
    await until(lambda: _is(sender.queues.depth(*SHARDS), 40))
    before = rerouted()
    sender.timings = replace(sender.timings, settling=60.0)
    await sender.start([to(sink)])
    await sender.told(EventName.DELIVERED, 40)
    assert rerouted() == before


async def test_what_a_lane_learnt_is_known_to_the_next_process(sender: Any, sink: Any):
    sink.most_connections = 2
    sink.gate.clear()
    await sender.start([to(sink)])
    for number in range(200):
        await sender.hand_in(f"u{number}@d.test")
    sink.gate.set()
    await sender.told(EventName.DELIVERED, 200)
    assert sink.refused > 0
    await sender.stop()
    record = await sender.database.lanes.get(f"|127.0.0.1:{sink.port}")
    assert record is not None
    assert record.state.learnt.ceiling == 2
    (effect,) = record.state.effects
    assert "421 4.7.0 too many connections" in effect.reason
    refused = sink.refused
    await sender.start([to(sink)])
    for number in range(20):
        await sender.hand_in(f"v{number}@d.test")
    await sender.told(EventName.DELIVERED, 220)
    assert sink.refused - refused <= 1


async def test_tls_policy_of_the_domain_is_in_the_event_of_the_attempt(
    sender: Any, sink: Any, name_server: Any, authority: Any
):
    sender.permits = lambda _: True
    issued = authority.issue("mx.d.test")
    sink.tls = issued.context()
    digest = hashlib.sha256(issued.chain[0]).hexdigest()
    name_server.signed = (".test",)
    name_server.zone |= {
        ("d.test", "MX"): ["10 mx.d.test."],
        ("mx.d.test", "A"): ["127.0.0.1"],
        (f"_{sink.port}._tcp.mx.d.test", "TLSA"): [f"3 0 1 {digest}"],
        ("e.test", "MX"): ["10 mx.e.test."],
        ("mx.e.test", "A"): ["127.0.0.1"],
        (f"_{sink.port}._tcp.mx.e.test", "TLSA"): [f"3 0 1 {'0' * 64}"],
    }
    settings = {"dns": name_server.address, "dnssec": "trusted", "retry_schedule": "60"}
    await sender.start([{"domain": "*", "port": sink.port}], **settings)
    await sender.hand_in("u@d.test")
    await sender.hand_in("u@e.test")
    (delivered,) = await sender.told(EventName.DELIVERED)
    expected = {"kind": "dane", "mode": "enforce", "result": "ok", "detail": "TLSA 3 0 1"}
    assert delivered.facts["tls_policy"] == expected
    (deferred,) = await sender.told(EventName.DEFERRED)
    assert deferred.facts["tls_policy"]["result"] == "failed"
    assert deferred.facts["reply"].startswith("451 4.7.5 DANE: ")
    assert "# DANE: the certificate fits no TLSA record" in deferred.facts["conversation"]
    assert sink.recipients == ["u@d.test"]
