"""The `postroad` command as a user types it, on one whole stack."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_cli.main import main
from postroad_sink.client import SinkClient
from postroad_stack.errors import RestError
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack

POSTROAD = Path(sys.executable).with_name("postroad")


def process(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a program."""
    return subprocess.run(
        (POSTROAD, *arguments),
        env=_environment(stack),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def postroad(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command's own `main` in this process, which takes a tenth of the time."""
    shown, said = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nothing:
        for name in os.environ:
            patch.delenv(name)
        for name, value in (_environment(stack) | environment).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["postroad", *arguments])
        patch.setattr(sys, "stdin", nothing)
        with redirect_stdout(shown), redirect_stderr(said), pytest.raises(SystemExit) as end:
            main()
    return subprocess.CompletedProcess(
        arguments, int(end.value.code or 0), shown.getvalue(), said.getvalue()
    )


def _environment(stack: Stack) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "POSTROAD_STATE_DIR": str(stack.state_dir)}


def answer(stack: Stack, *arguments: str) -> Any:
    done = postroad(stack, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_document_names_everything_that_the_contract_promises(stack: Stack):
    document = json.loads(process(stack, "status", "--json").stdout)
    assert document["smtp"]["tls"] == "starttls"
    assert document["smtps"]["tls"] == "implicit"
    assert set(document["mx"]) == {"host", "port"}
    assert set(document["sink"]) == {"smtp_port", "http"}
    assert set(document["dashboard"]) == {"url", "email", "password"}
    assert set(document["credential"]) == {"username", "password"}
    assert Path(document["ca"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    services = {"ingress-smtp", "ingress-http", "transformer", "sender"}
    services |= {"bounce-processor", "tracker", "feedback"}
    assert services <= set(document["metrics"])
    assert services | {"rabbitmq", "mongod", "sink"} <= set(document["pids"])
    assert len(document["pids"]["sender"]) == len(document["metrics"]["sender"]) == 2
    for url in [url for urls in document["metrics"].values() for url in urls]:
        assert "# TYPE" in httpx.get(url, timeout=90).text


def test_demo_succeeds_twice_on_a_running_stack_and_leaves_it_running(stack: Stack):
    for _ in range(2):
        done = process(stack, "demo")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("✓") == 11
        assert stack.document.dashboard is not None
        assert stack.document.dashboard.password in done.stdout


def test_trace_tells_the_life_of_a_message(stack: Stack):
    sent = stack.api().post(
        "/v1/send",
        {
            "envelope": "shop@shop.test",
            "recipient": "trace@example.test",
            "mime": "From: shop@shop.test\r\nSubject: traced\r\n\r\nhello\r\n",
        },
    )
    (message,) = [name for name, value in sent.items() if value == "trace@example.test"]
    done = postroad(stack, "trace", message, "--follow")
    assert done.returncode == 0, done.stderr
    assert "delivered" in done.stdout
    assert "trace@example.test" in done.stdout
    assert "S: 250" not in done.stdout
    assert "{" not in done.stdout
    verbose = postroad(stack, "trace", message, "--verbose").stdout
    assert verbose.index("C: RCPT TO:<trace@example.test>") < verbose.index("C: (message, ")
    assert answer(stack, "trace", message)["id"] == message
    found = answer(stack, "messages", "--recipient", "trace@example.test")
    assert [row["id"] for row in found] == [message]
    assert message in postroad(stack, "messages", "--state", "delivered").stdout
    search = ("messages", "export", "--recipient", "trace@example.test")
    (row,) = csv.DictReader(io.StringIO(postroad(stack, *search).stdout))
    (line,) = postroad(stack, *search, "--format", "jsonl").stdout.splitlines()
    assert row["id"] == json.loads(line)["id"] == message
    for verb in ("retry", "cancel"):
        refused = postroad(stack, "messages", verb, message)
        assert refused.returncode == 1
        assert "it is delivered" in refused.stderr
    unknown = process(stack, "trace", "nonsense")
    assert unknown.returncode == 1
    assert "no message nonsense" in unknown.stderr


def test_trace_says_in_plain_words_why_a_mail_failed(stack: Stack):
    mail = {"recipient": "failed+trace@simulator.invalid", "from": "a@shop.test", "text": "x"}
    (message,) = stack.api().post("/v1/send", mail)
    shown = postroad(stack, "trace", message, "--follow").stdout
    assert "  The address does not exist at the receiving server." in shown
    assert "explanation" not in shown


def test_preview_shows_a_file_and_ends_with_1_if_the_mail_would_be_refused(
    stack: Stack, tmp_path: Path
):
    file = tmp_path / "mail.eml"
    file.write_text(
        "From: shop@shop.test\r\nTo: Ann <preview@example.test>\r\nSubject: shown\r\n"
        "Content-Type: text/html\r\n\r\n<a href='https://shop.test/x'>look</a>\r\n"
    )
    shown = answer(stack, "preview", str(file), "--on", "inlinecss")
    assert shown["recipient"] == "preview@example.test"
    done = postroad(stack, "preview", str(file), "--off", "clicktracking", "--show", "html")
    assert "href='https://shop.test/x'" in done.stdout
    stack.api().post("/v1/suppressions", {"address": "preview@example.test"})
    done = postroad(stack, "preview", str(file))
    assert done.returncode == 1
    assert "link_tracked" in done.stdout
    assert "suppressed" in done.stdout


def test_subject_of_a_stranger_does_not_act_on_the_terminal(stack: Stack):
    hostile = "=?utf-8?q?=1B]0=3Bowned=07_=C2=9B2J?="
    sent = stack.api().post(
        "/v1/send",
        {
            "envelope": "shop@shop.test",
            "recipient": "hostile@example.test",
            "mime": f"From: shop@shop.test\r\nSubject: {hostile}\r\n\r\nhello\r\n",
        },
    )
    (message,) = sent
    shown = postroad(stack, "trace", message, "--follow").stdout
    shown += postroad(stack, "messages", "--recipient", "hostile@example.test").stdout
    assert shown.count("owned") == 2
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert answer(stack, "trace", message)["subject"].startswith("\x1b]0;owned")


def test_status_hides_secrets_unless_asked_for(stack: Stack):
    document = stack.document
    assert document.dashboard and document.credential and document.token  # noqa: PT018
    secrets = {document.dashboard.password, document.credential.password, document.token}
    secrets |= {document.amqp, document.mongodb}
    hidden = postroad(stack, "status").stdout
    shown = postroad(stack, "status", "--secrets").stdout
    assert document.credential.username in hidden
    assert [secret for secret in secrets if secret in hidden] == []
    assert [secret for secret in secrets if secret not in shown] == []


def test_status_gives_a_shell_what_the_other_commands_and_curl_need(stack: Stack):
    printed = postroad(stack, "status", "--env").stdout
    assert printed.splitlines() == [
        f"export POSTROAD_URL={stack.document.http}",
        f"export POSTROAD_TOKEN={stack.document.token}",
    ]


def test_up_on_a_running_stack_says_which_options_it_runs_without(stack: Stack):
    options = ["--detach", "--replicas", "sender=2", "--replicas", "tracker=2"]
    done = postroad(stack, "up", *options, "--env", "POSTROAD_ARCHIVE_DAYS=3")
    assert done.returncode == 0
    missing = "--env POSTROAD_ARCHIVE_DAYS, --replicas tracker=2"
    assert f"runs already, without {missing}: `postroad down` first" in done.stderr
    assert "already" not in postroad(stack, "up", "--detach", "--replicas", "sender=2").stderr


def test_login_is_made_changed_rotated_and_deleted(stack: Stack):
    made = answer(stack, "credentials", "create", "shop", "--clicktracking", "--no-forward-bounces")
    username = made["username"]
    assert made["forward_bounces"] is False
    assert made["features"]["clicktracking"] is True
    changed = answer(stack, "credentials", "change", username, "--inlinecss", "--disabled")
    assert changed["features"]["inlinecss"] is True
    assert changed["features"]["clicktracking"] is True
    assert changed["disabled"] is True
    assert answer(stack, "credentials", "rotate", username)["password"] != made["password"]
    assert "password" not in answer(stack, "credentials", "show", username)
    assert username in postroad(stack, "credentials", "list").stdout
    assert postroad(stack, "credentials", "delete", username).returncode == 0
    assert username not in postroad(stack, "credentials", "list").stdout


def test_token_with_one_scope_can_do_that_and_nothing_else(stack: Stack):
    made = answer(stack, "tokens", "create", "reader", "--scope", "queues:read")
    assert stack.document.http is not None
    other = {"POSTROAD_URL": stack.document.http, "POSTROAD_TOKEN": made["token"]}
    assert "transformer.accepted" in postroad(stack, "queues", "list", **other).stdout
    refused = postroad(stack, "tokens", "list", **other)
    assert refused.returncode == 1
    assert refused.stderr.startswith("✗")
    assert postroad(stack, "tokens", "delete", made["id"]).returncode == 0
    assert postroad(stack, "queues", "list", **other).returncode == 1


def test_domains_suppressions_and_webhooks_are_administered(stack: Stack):
    made = answer(stack, "domains", "create", "shop.test")
    assert any(record["type"] == "TXT" for record in made["records"])
    assert "shop.test" in {row["domain"] for row in answer(stack, "domains", "list")}
    shown = postroad(stack, "domains", "show", "shop.test")
    assert (shown.returncode, "shop.test: not verified" in shown.stdout) == (1, True)
    assert "type   TXT" in shown.stdout.replace("  type ", "type ")
    assert answer(stack, "domains", "keys", "shop.test")
    assert postroad(stack, "domains", "delete", "shop.test").returncode == 0

    answer(stack, "suppressions", "create", "no+more@example.test", "--reason", "asked us")
    assert "asked us" in postroad(stack, "suppressions", "list").stdout
    assert postroad(stack, "suppressions", "delete", "no+more@example.test").returncode == 0

    hook = answer(stack, "webhooks", "create", "https://hooks.example.com/x", "--event", "bounced")
    changed = answer(stack, "webhooks", "change", hook["id"], "--disabled", "--event", "delivered")
    assert (changed["disabled"], changed["events"]) == (True, ["delivered"])
    assert answer(stack, "webhooks", "rotate", hook["id"])["secret"] != hook["secret"]
    assert postroad(stack, "webhooks", "delete", hook["id"]).returncode == 0
    assert hook["id"] not in {row["id"] for row in answer(stack, "webhooks", "list")}


def test_mail_is_sent_from_a_template_and_found_in_events_and_numbers(stack: Stack, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("<p>Dear {$name}</p>", encoding="utf-8")
    made = answer(stack, "templates", "create", "letter", "--from", "shop@shop.test",
                  "--subject", "Hi {$name}", "--html", str(page))  # fmt: skip
    assert made["version"] == 1
    filled = answer(stack, "templates", "fill", "letter", "--data", '{"name": "Bo"}')
    assert filled["html"] == "<p>Dear Bo</p>"
    sent = answer(stack, "send", "bo@receiver.test", "--template", "letter",
                  "--data", '{"name": "Bo"}', "--tag", "letters")  # fmt: skip
    (message,) = sent
    deadline = time.monotonic() + 90
    while not answer(stack, "events", "--message", message, "--event", "delivered"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert message in postroad(stack, "events", "--message", message).stdout
    assert "accepted" in postroad(stack, "stats", "--tag", "letters").stdout
    assert "together" in postroad(stack, "stats", "--by", "provider", "--step", "hour").stdout
    assert postroad(stack, "logs").returncode == 0
    assert answer(stack, "templates", "change", "letter", "--html", str(page))["version"] == 2
    assert len(answer(stack, "templates", "versions", "letter")) == 2
    assert postroad(stack, "templates", "delete", "letter").returncode == 0
    whole = json.loads(postroad(stack, "addresses", "export", "bo@receiver.test").stdout)
    assert [one["id"] for one in whole["messages"]] == [message]
    assert answer(stack, "addresses", "erase", "bo@receiver.test")["messages"] == 1


def test_all_that_a_search_finds_is_sent_again_once_it_is_confirmed(stack: Stack):
    mail = ("--from", "shop@shop.test", "--text", "Hello", "--tag", "jobs-of-the-command")
    addresses = ("one@jobs.test", "two@jobs.test")
    sent = answer(stack, "send", *addresses, *mail)
    search = ("--tag", "jobs-of-the-command", "--state", "delivered", "--since", "1h")
    deadline = time.monotonic() + 90
    while len(answer(stack, "messages", *search)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    asked = postroad(stack, "jobs", "start", "resend", *search)
    assert (asked.returncode, "add --confirm 2" in asked.stderr) == (2, True)
    wrong = postroad(stack, "jobs", "start", "resend", *search, "--confirm", "3")
    assert (wrong.returncode, "2 messages" in wrong.stderr) == (1, True)
    job = answer(stack, "jobs", "start", "resend", *search, "--confirm", "2")
    ended = answer(stack, "jobs", "watch", job["id"])
    assert (ended["state"], ended["counts"]["done"]) == ("finished", 2)
    done = answer(stack, "jobs", "messages", job["id"], "--ending", "done")
    assert {one["message"] for one in done} == set(sent)
    assert job["id"] in postroad(stack, "jobs", "list").stdout
    assert "resend" in postroad(stack, "jobs", "show", job["id"]).stdout
    assert postroad(stack, "jobs", "stop", job["id"]).returncode == 1
    assert answer(stack, "jobs", "start", "lift", *search, "--yes")["act"] == "lift"


def test_simulated_mail_ends_as_its_addresses_say_and_a_test_is_not_sent(stack: Stack):
    ends = {
        "delivered": "delivered",
        "failed+1": "failed",
        "bounced": "bounced",
        "complained": "delivered",
        "suppressed": "suppressed",
        "deferred+2": "delivered",
    }
    mail = ("--from", "shop@shop.test", "--envelope", "told@shop.test", "--text", "Hello")
    sent = answer(stack, "send", *(f"{name}@simulator.invalid" for name in ends), *mail)
    (test,) = answer(stack, "send", "kim@tested.test", *mail, "--test")
    expected = {f"{name}@simulator.invalid": state for name, state in ends.items()}
    complained = next(key for key, address in sent.items() if address.startswith("complained"))
    deadline = time.monotonic() + 90

    def states() -> dict[str, str]:
        listed = answer(stack, "messages", "--recipient", "@simulator.invalid")
        return {one["recipient"]: one["state"] for one in listed if one["id"] in sent}

    while (
        states() != expected
        or not answer(stack, "events", "--message", complained, "--event", "complained")
        or not answer(stack, "events", "--message", test, "--event", "tested")
    ):
        assert time.monotonic() < deadline, states()
        time.sleep(0.2)
    assert "simulator.invalid" not in postroad(stack, "suppressions", "list").stdout
    with SinkClient(stack.sink_url) as sink:
        # the refusal, the suppression, the bounce and the complaint
        assert len(sink.wait(recipient="told@shop.test", at_least=4, limit=90)) == 4
        for never in ("*@simulator.invalid", "kim@tested.test"):
            assert sink.messages(recipient=never) == []


def test_suppressions_are_exported_and_imported(stack: Stack, tmp_path: Path):
    listed = tmp_path / "listed.csv"
    listed.write_text("address,reason\none@csv.test,left\nnone\ntwo@csv.test,\n", encoding="utf-8")
    done = postroad(stack, "suppressions", "import", str(listed))
    assert (done.returncode, done.stdout) == (1, "2 suppressed, 1 refused\n")
    assert done.stderr.startswith("line 3: ")
    exported = postroad(stack, "suppressions", "export").stdout
    assert "one@csv.test,manual,,left," in exported
    assert "two@csv.test,manual,," in exported
    listed.write_text(exported, encoding="utf-8")
    again = postroad(stack, "suppressions", "import", str(listed))
    assert (again.returncode, again.stdout.split()[-2:]) == (0, ["0", "refused"])


def test_accounts_are_made_suspended_and_deleted(stack: Stack):
    assert answer(stack, "accounts", "create", "second", "--name", "Second")["name"] == "Second"
    assert answer(stack, "accounts", "change", "second", "--suspended")["suspended"] is True
    assert "second" in postroad(stack, "accounts", "list").stdout
    assert postroad(stack, "accounts", "delete", "second").returncode == 0


def test_operator_acts_in_an_account_and_what_was_done_is_told(stack: Stack):
    answer(stack, "accounts", "create", "third")
    here = ("--account", "third")
    invited = answer(stack, "users", "invite", "ann@third.test", "--role", "owner", *here)
    assert "/dashboard/join?key=" in invited["link"]
    assert "ann@third.test" in postroad(stack, "users", "list", *here).stdout
    assert "ann@third.test" not in postroad(stack, "users", "list").stdout
    made = answer(stack, "domains", "create", "third.test", "--trusted", *here)
    assert made["verified"] is True
    assert postroad(stack, "domains", "show", "third.test", *here).returncode == 0
    zone = postroad(stack, "domains", "zone", "third.test", *here).stdout
    assert "$ORIGIN third.test." in zone
    assert "bounces\tIN\tMX\t10 " in zone
    token = answer(
        stack, "tokens", "create", "shop", "--scope", "send", "--from", "third.test",
        "--network", "127.0.0.0/8", "--expires", "2099-01-01", *here,
    )  # fmt: skip
    assert (token["sender_domains"], token["networks"]) == (["third.test"], ["127.0.0.0/8"])
    done = answer(stack, "audit", "--noun", "domains", *here)
    assert ("domains.create", "third.test") in {(row["action"], row["target"]) for row in done}
    assert "third.test" in postroad(stack, "audit", *here).stdout
    refused = postroad(stack, "users", "list", "--account", "nowhere")
    assert (refused.returncode, "no such account" in refused.stderr) == (1, True)


def test_lane_is_given_orders_and_dead_letters_are_looked_at(stack: Stack):
    deadline = time.monotonic() + 90  # the sender writes its lanes down every few seconds
    while not (lanes := answer(stack, "lanes", "list", "--site", "127.0.0.1")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    key = lanes[0]["key"]
    assert answer(stack, "lanes", "pause", key, "--reason", "by test")["order"] == {
        "paused": True,
        "reason": "by test",
    }
    assert "paused" not in answer(stack, "lanes", "resume", key)["order"]
    assert answer(stack, "lanes", "drain", key)["order"]["drain"] is True
    assert "drain" not in answer(stack, "lanes", "resume", key)["order"]
    assert answer(stack, "lanes", "cap", key, "--rate", "5")["order"]["rate"] == 5
    assert "rate" not in answer(stack, "lanes", "cap", key, "--rate", "0")["order"]
    assert answer(stack, "lanes", "cancel", key, "rate")["order"]["cancel"].keys() == {"rate"}
    assert answer(stack, "lanes", "simulate", key, "rate")["order"]["simulate"] == ["rate"]
    assert "simulate" not in answer(stack, "lanes", "simulate", key)["order"]
    asked = postroad(stack, "lanes", "bounce", key, "--reply", "550 5.4.1 no")
    assert asked.returncode == 2  # nobody has confirmed it
    assert "Add --yes" in asked.stderr
    bounced = answer(
        stack, "lanes", "bounce", key, "--reply", "550 5.4.1 no", "--before", "1", "--yes"
    )
    assert bounced["order"]["bounce"] == {"reply": "550 5.4.1 no", "before": 1.0}
    assert "bounce" not in answer(stack, "lanes", "bounce", key, "--stop")["order"]
    there = answer(stack, "lanes", "redirect", key, "spare.test", "--tls", "none")
    assert there["order"]["redirect"] == {"host": "spare.test", "port": 25, "tls": "none"}
    assert "redirect" not in answer(stack, "lanes", "redirect", key, "--stop")["order"]
    assert postroad(stack, "lanes", "redirect", key).returncode == 2
    assert answer(stack, "queues", "look", "sender.shard.dead") == []
    assert answer(stack, "queues", "replay", "sender.shard.dead") == {"replayed": 0, "left": 0}
    assert answer(stack, "queues", "purge", "sender.shard.dead", "--yes") == {"purged": 0}


def test_queue_is_shown(stack: Stack):
    assert answer(stack, "queues", "show", "transformer.accepted")["name"] == "transformer.accepted"


def test_half_a_deployment_in_the_environment_is_refused(stack: Stack):
    done = postroad(stack, "queues", "list", POSTROAD_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "POSTROAD_TOKEN is not set" in done.stderr


def test_client_reports_errors_of_the_api_with_status_and_field(stack: Stack):
    with pytest.raises(RestError) as caught:
        stack.api().post("/v1/send", {"envelope": "not an address", "recipient": "a@example.test"})
    assert 400 <= caught.value.status < 500
    assert caught.value.field


def test_client_reports_that_nothing_answers():
    with pytest.raises(RestError, match="does not answer") as caught:
        RestClient("http://127.0.0.1:9", "token").get("/v1/queues")
    assert caught.value.status == 0


def test_killed_service_is_back_and_mail_flows_again(stack: Stack):
    assert stack.document.sink is not None
    for service in ("transformer", "sender"):
        gone = stack.kill(service)
        stack.wait_back(service, gone)
    with SinkClient(stack.sink_url) as sink:
        before = sink.last_number()
        stack.api().post(
            "/v1/send",
            {
                "envelope": "shop@shop.test",
                "recipient": "again@example.test",
                "mime": "From: shop@shop.test\r\nSubject: again\r\n\r\nhello\r\n",
            },
        )
        (arrived,) = sink.wait(recipient="again@example.test", since=before, limit=90)
    assert arrived.subject == "again"
