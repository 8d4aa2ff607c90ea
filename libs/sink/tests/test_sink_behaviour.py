"""Each kind of misbehaviour, seen by a client over a real connection."""

import asyncio
import time

import pytest

from postroad_sink.harness import RunningSink


async def test_recipient_refused_by_pattern_is_refused_and_others_are_not(running: RunningSink):
    await running.behave(
        {"stage": "rcpt", "recipient": "*@no.test", "reply": "550 5.1.1 No such user"}
    )
    client = await running.greeted()
    assert await client.code("MAIL FROM:<a@x.test>") == 250
    assert await client.ask("RCPT TO:<Bob@NO.test>") == "550 5.1.1 No such user"
    assert await client.code("RCPT TO:<bob@yes.test>") == 250
    counts = await running.counts()
    assert counts["refused"]["rcpt"] == 1
    assert counts["domains"]["no.test"]["refused"] == 1


async def test_sender_pattern_is_looked_at_by_mail_and_leaves_no_transaction_open(
    running: RunningSink,
):
    await running.behave({"stage": "mail", "pattern": "spam@*", "reply": "550 5.7.1 Not you"})
    client = await running.greeted()
    assert await client.ask("MAIL FROM:<spam@x.test>") == "550 5.7.1 Not you"
    assert await client.code("RCPT TO:<b@y.test>") == 503
    assert await client.code("MAIL FROM:<ham@x.test>") == 250


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ("451 4.3.0 Later", "451 4.3.0 Later"),
        (450, "450"),
        ({"code": 552, "text": "5.2.2 Full"}, "552 5.2.2 Full"),
        ("554 5.7.1 One\n5.7.1 Two", "554-5.7.1 One\n554 5.7.1 Two"),
    ],
)
async def test_every_spelling_of_a_reply_reaches_the_client(
    running: RunningSink, reply: object, line: str
):
    await running.behave({"stage": "message", "reply": reply})
    client = await running.greeted()
    assert (await client.send("a@x.test", "b@y.test")).strip() == line
    assert await running.messages() == []


async def test_refused_greeting_closes_the_connection(running: RunningSink):
    await running.behave({"stage": "connect", "reply": "554 5.3.2 Closed"})
    client = await running.connect()
    assert await client.reply() == "554 5.3.2 Closed"
    assert await client.ended()
    assert (await running.counts())["connections"] == {"now": 0, "max": 0, "total": 1}


@pytest.mark.parametrize(
    ("stage", "lines"),
    [
        ("ehlo", ["EHLO again.test"]),
        ("starttls", ["STARTTLS"]),
        ("data", ["MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA"]),
    ],
)
async def test_stage_refused_keeps_the_connection(
    running: RunningSink, stage: str, lines: list[str]
):
    client = await running.greeted()
    await running.behave({"stage": stage, "reply": "454 4.7.0 Not now", "times": 1})
    replies = [await client.ask(line) for line in lines]
    assert replies[-1] == "454 4.7.0 Not now"
    assert await client.code("NOOP") == 250
    assert (await running.counts())["refused"][stage] == 1


async def test_421_at_any_stage_closes_the_connection(running: RunningSink):
    await running.behave({"stage": "rcpt", "reply": "421 4.3.2 Going down"})
    client = await running.greeted()
    await client.ask("MAIL FROM:<a@x.test>")
    assert await client.ask("RCPT TO:<b@y.test>") == "421 4.3.2 Going down"
    assert await client.ended()


async def test_times_makes_the_first_n_fail_only(running: RunningSink):
    await running.behave({"recipient": "*", "reply": "450 4.2.0 Grey", "times": 2})
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", *["RCPT TO:<b@y.test>"] * 3)
    assert [reply[:3] for reply in replies] == ["250", "450", "450", "250"]
    assert (await running.http.get("/behaviour")).json()[0]["fired"] == 2


async def test_times_per_recipient_greylists_each_recipient_once(running: RunningSink):
    await running.behave({"reply": "450 4.2.0 Grey", "times": 1, "per": "recipient"})
    client = await running.greeted()
    replies = await client.say(
        "MAIL FROM:<a@x.test>",
        "RCPT TO:<b@y.test>",
        "RCPT TO:<c@y.test>",
        "RCPT TO:<B@y.test>",
        "RCPT TO:<c@y.test>",
    )
    assert [reply[:3] for reply in replies] == ["250", "450", "450", "250", "250"]


async def test_probability_refuses_about_that_share(running: RunningSink):
    await running.behave({"reply": "451 4.3.0 Dice", "probability": 0.25})
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", *["RCPT TO:<b@y.test>"] * 400)
    refused = sum(reply.startswith("451") for reply in replies)
    assert 60 <= refused <= 140


async def test_delay_holds_the_reply_and_keeps_the_order_of_what_was_sent_ahead(
    running: RunningSink,
):
    await running.behave({"recipient": "slow@*", "delay": 0.2})
    client = await running.greeted()
    began = time.monotonic()
    replies = await client.say(
        "MAIL FROM:<a@x.test>", "RCPT TO:<slow@y.test>", "RCPT TO:<b@y.test>", "NOOP"
    )
    assert time.monotonic() - began >= 0.2
    assert [reply[4:9] for reply in replies] == ["2.1.0", "2.1.5", "2.1.5", "2.0.0"]


async def test_delay_of_one_client_does_not_hold_up_another(running: RunningSink):
    await running.behave({"recipient": "slow@*", "delay": 600})
    slow, fast = await running.greeted(), await running.greeted()
    slow.writer.write(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<slow@y.test>\r\n")
    assert (await fast.send("a@x.test", "b@y.test")).startswith("250")


async def test_delays_of_several_rules_add_up_before_the_reply_of_a_later_one(running: RunningSink):
    await running.behave({"delay": 0.1}, {"delay": 0.1}, {"reply": "450 4.2.0 Late"})
    client = await running.greeted()
    await client.ask("MAIL FROM:<a@x.test>")
    began = time.monotonic()
    assert await client.ask("RCPT TO:<b@y.test>") == "450 4.2.0 Late"
    assert time.monotonic() - began >= 0.2


async def test_drop_before_the_reply_closes_without_a_word(running: RunningSink):
    await running.behave({"stage": "mail", "drop": "before"})
    client = await running.greeted()
    client.writer.write(b"NOOP\r\nMAIL FROM:<a@x.test>\r\n")
    assert await client.reply() == "250 2.0.0 Ok"
    assert await client.ended()


async def test_message_dropped_before_its_reply_is_kept_all_the_same(running: RunningSink):
    await running.behave({"stage": "message", "drop": "before"})
    client = await running.greeted()
    with pytest.raises(ConnectionError):
        await client.send("a@x.test", "b@y.test")
    assert len(await running.messages()) == 1


async def test_message_refused_and_dropped_is_neither_kept_nor_answered(running: RunningSink):
    await running.behave({"stage": "message", "drop": "before", "reply": "451 4.3.0 Lost"})
    client = await running.greeted()
    with pytest.raises(ConnectionError):
        await client.send("a@x.test", "b@y.test")
    assert await running.messages() == []


async def test_drop_after_the_reply_answers_and_closes(running: RunningSink):
    await running.behave({"stage": "message", "drop": "after"})
    client = await running.greeted()
    assert (await client.send("a@x.test", "b@y.test")).startswith("250 ")
    assert await client.ended()


async def test_drop_after_go_ahead_cuts_the_connection_in_mid_message(running: RunningSink):
    await running.behave({"stage": "data", "drop": "after"})
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")
    assert replies[-1].startswith("354 ")
    assert await client.ended()


async def test_connections_above_the_limit_get_421(running: RunningSink):
    await running.behave({"stage": "connect", "connections": 2})
    first, second = await running.greeted(), await running.greeted()
    third = await running.connect()
    assert (await third.reply()).startswith("421 4.7.0 ")
    assert await third.ended()
    assert await first.code("QUIT") == 221
    assert await first.ended()
    assert await second.code("NOOP") == 250
    assert (await (await running.connect()).reply()).startswith("220 ")
    assert (await running.counts())["connections"]["max"] == 2


async def test_connection_limit_per_client_counts_each_ip_alone(running: RunningSink):
    await running.behave({"stage": "connect", "connections": 1, "per": "client"})
    await running.greeted(source="127.0.0.1")
    await running.greeted(source="127.0.0.3")
    refused = await running.connect(source="127.0.0.3")
    assert (await refused.reply()).startswith("421 ")


async def test_connection_limit_per_server_makes_each_address_a_server_of_its_own(
    running: RunningSink,
):
    await running.behave({"stage": "connect", "connections": 1, "per": "server"})
    await running.greeted("127.0.0.1")
    await running.greeted("127.0.0.2")
    refused = await running.connect("127.0.0.2")
    assert (await refused.reply()).startswith("421 ")


async def test_connection_limit_per_domain_is_noticed_at_the_recipient(running: RunningSink):
    await running.behave({"connections": 1, "per": "domain", "reply": "450 4.7.0 One is enough"})
    first, second = await running.greeted(), await running.greeted()
    for client in (first, second):
        await client.ask("MAIL FROM:<a@x.test>")
    assert await first.code("RCPT TO:<b@y.test>") == 250
    assert await second.ask("RCPT TO:<b@y.test>") == "450 4.7.0 One is enough"
    assert await second.code("RCPT TO:<b@z.test>") == 250
    assert (await running.counts())["domains"]["y.test"]["connections"] == {"now": 2, "max": 2}


async def test_rule_for_one_server_address_leaves_the_others_alone(running: RunningSink):
    await running.behave({"stage": "mail", "server": "127.0.0.2", "reply": "451 4.3.0 Ill"})
    well, ill = await running.greeted("127.0.0.1"), await running.greeted("127.0.0.2")
    assert await well.code("MAIL FROM:<a@x.test>") == 250
    assert await ill.code("MAIL FROM:<a@x.test>") == 451


async def test_rate_above_the_limit_gets_450_and_recovers(running: RunningSink):
    await running.behave({"rate": 10, "burst": 3})
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", *["RCPT TO:<b@y.test>"] * 10)
    codes = [reply[:3] for reply in replies[1:]]
    assert codes[:3] == ["250"] * 3
    assert codes.count("450") >= 6
    assert "4.7.1" in replies[-1]
    async with asyncio.timeout(90):
        while (await client.ask("RCPT TO:<b@y.test>")).startswith("450"):
            pass


async def test_extension_switched_off_is_not_offered_and_its_parameters_are_refused(
    running: RunningSink,
):
    await running.behave(
        {"stage": "connect", "extensions": {"DSN": False, "8bitmime": False, "SIZE": 1000}}
    )
    client = await running.connect()
    await client.reply()
    offered = (await client.ask("EHLO client.test")).split("\n")
    assert "250-DSN" not in offered
    assert "250-8BITMIME" not in offered
    assert any(line.endswith("SIZE 1000") for line in offered)
    assert await client.code("MAIL FROM:<a@x.test> RET=HDRS") == 555
    assert await client.code("MAIL FROM:<a@x.test> BODY=8BITMIME") == 555
    assert await client.code("MAIL FROM:<a@x.test> SIZE=1001") == 552
    assert await client.code("MAIL FROM:<a@x.test> SIZE=1000") == 250
    assert await client.code("RCPT TO:<b@y.test> NOTIFY=NEVER") == 555
    assert await client.code("RCPT TO:<b@y.test>") == 250
    assert await client.code("DATA") == 354
    assert await client.code("x" * 990 + "\r\n" + "x" * 90 + "\r\n.") == 552


async def test_commands_sent_ahead_without_pipelining_on_offer_are_refused(running: RunningSink):
    await running.behave({"stage": "connect", "extensions": {"PIPELINING": False}})
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>")
    assert replies[0].startswith("503 5.5.0")


async def test_starttls_switched_off_is_neither_offered_nor_done(running: RunningSink):
    await running.behave({"stage": "connect", "extensions": {"STARTTLS": False}})
    client = await running.connect()
    await client.reply()
    assert "STARTTLS" not in await client.ask("EHLO client.test")
    assert await client.code("STARTTLS") == 502


async def test_rule_without_tls_is_lifted_by_tls(running: RunningSink):
    await running.behave({"stage": "mail", "tls": False, "reply": "530 5.7.0 STARTTLS first"})
    client = await running.greeted()
    assert await client.code("MAIL FROM:<a@x.test>") == 530
    await client.secure()
    await client.ask("EHLO client.test")
    assert await client.code("MAIL FROM:<a@x.test>") == 250


@pytest.mark.speed
async def test_latency_is_paid_once_per_group_of_pipelined_commands(running: RunningSink):
    await running.behave({"stage": "connect", "latency": 0.1})
    client = await running.greeted()
    began = time.monotonic()
    await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")
    grouped = time.monotonic() - began
    assert (await client.ask("x\r\n.")).startswith("250 ")
    began = time.monotonic()
    for line in ("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA"):
        await client.ask(line)
    single = time.monotonic() - began
    assert 0.1 <= grouped < single
    assert single >= 0.3


async def test_latency_and_tls_go_together(running: RunningSink):
    await running.behave({"stage": "connect", "latency": 0.05})
    client = await running.greeted()
    await client.secure()
    await client.ask("EHLO client.test")
    assert (await client.send("a@x.test", "b@y.test")).startswith("250 ")
    assert await client.code("QUIT") == 221
    assert await client.ended()


async def test_bdat_refused_by_a_rule_swallows_the_chunk(running: RunningSink):
    await running.behave({"stage": "data", "reply": "451 4.3.0 No chunks"})
    client = await running.greeted()
    await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>")
    client.writer.write(b"BDAT 6 LAST\r\nQUIT\r\n")
    assert await client.reply() == "451 4.3.0 No chunks"
    assert await client.code("NOOP") == 250


async def test_rules_can_be_added_replaced_and_removed(running: RunningSink):
    async def replies() -> str:
        client = await running.greeted()
        await client.ask("MAIL FROM:<a@x.test>")
        return await client.ask("RCPT TO:<b@y.test>")

    one = await running.http.post("/behaviour", json={"reply": "450 One"})
    assert one.status_code == 201
    added = one.json()[0]
    await running.http.post("/behaviour", json={"rules": [{"reply": "450 Two"}]})
    assert await replies() == "450 One"
    assert (await running.http.delete(f"/behaviour/{added['number']}")).status_code == 200
    assert await replies() == "450 Two"
    await running.http.put("/behaviour", json=[{"reply": "450 Three"}])
    assert await replies() == "450 Three"
    assert (await running.http.delete("/behaviour")).json() == {"deleted": 1}
    assert (await replies()).startswith("250 ")
    assert (await running.http.delete("/behaviour/99")).status_code == 404
