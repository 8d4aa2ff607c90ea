"""What the metrics say after mail has gone its road, over SMTP and REST alike."""

import re
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import httpx

MakeMail = Callable[..., EmailMessage]


def metric(road: Any, service: str, name: str, **labels: str) -> float:
    """Return the sum over the replicas of a service; the series must be there."""
    total = 0.0
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    for url in road.stack.document.metrics[service]:
        found = [
            float(value)
            for shown, value in re.findall(
                rf"^{name}(?:\{{(.*)\}})? (\S+)$", httpx.get(url, timeout=10).text, re.MULTILINE
            )
            if all(each in shown for each in wanted)
        ]
        assert found, f"{service} has no {name} with {labels}"
        total += sum(found)
    return total


def test_mail_over_smtp_and_rest_is_counted_alike_from_acceptance_to_delivery(
    road: Any, make_mail: MakeMail, subject: str
) -> None:
    def accepted() -> tuple[float, float]:
        name = "postroad_accepted_recipients_total"
        return (
            metric(road, "ingress-smtp", name, via="smtp"),
            metric(road, "ingress-http", name, via="rest"),
        )

    def delivered() -> float:
        return metric(road, "sender", "postroad_sender_outcomes_total", status="delivered")

    smtp, rest = accepted()
    before = delivered()
    timed = metric(road, "sender", "postroad_sender_delivery_seconds_count")
    sent = road.submit(make_mail(subject), ["a@receiver.test", "b@receiver.test"])
    answer = road.api.post(
        "/v1/send",
        {
            "from": "news@shop.test",
            "recipients": ["c@receiver.test"],
            "to": "c@receiver.test",
            "subject": subject,
            "text": "Hello",
        },
    )
    assert answer
    for each in sent.ids:
        road.wait_state(each, "delivered")
    road.received(subject, 3)
    # Tests beside this one may send too: at least what was sent here is counted.
    assert accepted()[0] >= smtp + 2
    assert accepted()[1] >= rest + 1
    road.until(lambda: delivered() >= before + 3, "three deliveries are counted")
    assert metric(road, "sender", "postroad_sender_delivery_seconds_count") >= timed + 3
    assert (
        metric(road, "ingress-smtp", "postroad_ingress_smtp_messages_tls_total", tls="TLSv1.3") > 0
    )
    assert metric(road, "feedback", "postroad_feedback_event_lag_seconds_count") > 0
    assert metric(road, "transformer", "postroad_queue_age_seconds_count") > 0
    assert metric(road, "transformer", "postroad_publish_seconds_count") > 0


def test_a_stack_that_runs_says_so_in_its_metrics(road: Any) -> None:
    def ready(service: str) -> bool:
        return metric(road, service, "postroad_ready", check="service") == 1.0

    for service in road.stack.document.metrics:
        if not service.startswith(("rabbitmq", "mongod")):
            road.until(lambda service=service: ready(service), f"{service} is ready")
            assert metric(road, service, "postroad_build_info") == 1.0
            assert metric(road, service, "postroad_broker_connected", role="publish") == 1.0
    ends = "postroad_ingress_smtp_certificate_expiry_timestamp_seconds"
    assert metric(road, "ingress-smtp", ends) > time.time()
    shard = {"queue": "sender.shard.00"}

    def consumed() -> bool:
        return metric(road, "ingress-http", "postroad_queue_consumers", **shard) >= 1.0

    road.until(consumed, "the queues have been looked at")
    assert metric(road, "ingress-http", "postroad_queue_messages", queue="sender.parked") >= 0.0
    commands = "postroad_database_command_seconds_count"
    assert metric(road, "feedback", commands, command="insert") > 0.0
