"""What is counted of an attempt: status, provider, class, TLS, and how long it took."""

import time

from prometheus_client import REGISTRY

from postroad_common.mail.classification import Classification
from postroad_common.mail.reply import Reply
from postroad_sender.delivery.counts import count_outcome, make_series
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.stage import Stage
from postroad_testing.factories import outbound


def job(provider: str, received: float, attempt: int = 0) -> Job:
    message = outbound("a@b.test", received=received, attempt=attempt)
    return Job(message, memoryview(b""), "b.test", Shard("", 1), provider=provider)


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels} has no series"
    return found


def of(provider: str, status: str) -> float:
    return value("postroad_sender_provider_outcomes_total", provider=provider, status=status)


def test_providers_have_their_series_before_the_first_mail() -> None:
    make_series(["acme-mail"])
    assert of("acme-mail", "delivered") == 0.0
    assert of("other", "failed") >= 0.0


def test_a_delivery_counts_for_its_provider_and_its_time_since_acceptance() -> None:
    make_series(["acme-mail"])
    now = time.time()
    before = of("acme-mail", "delivered")
    seconds = value("postroad_sender_delivery_seconds_sum")
    clear = value("postroad_sender_deliveries_tls_total", tls="none")
    outcome = Outcome(Status.DELIVERED, Stage.DOT, Reply(250, "2.0.0", "Ok"))
    count_outcome(job("acme-mail", now - 42.0), outcome, now)
    assert of("acme-mail", "delivered") == before + 1
    assert round(value("postroad_sender_delivery_seconds_sum") - seconds) == 42
    assert value("postroad_sender_deliveries_tls_total", tls="none") == clear + 1


def test_time_of_mail_for_later_counts_from_then() -> None:
    now = time.time()
    later = job("acme-mail", now - 3600.0)
    later.message = later.message.model_copy(update={"send_at": now - 7.0})
    seconds = value("postroad_sender_delivery_seconds_sum")
    count_outcome(later, Outcome(Status.DELIVERED, Stage.DOT, Reply(250, "2.0.0", "Ok")), now)
    assert round(value("postroad_sender_delivery_seconds_sum") - seconds) == 7


def test_a_deferral_counts_by_its_class_and_a_failure_does_not() -> None:
    make_series([])
    name, kind = "postroad_sender_deferrals_total", Classification.GREYLISTED.value
    before, others = value(name, **{"class": kind}), of("other", "failed")
    reply = Reply(451, "4.7.1", "greylisted")
    deferred = Outcome(Status.DEFERRED, Stage.RCPT, reply, Signal.GREYLIST)
    count_outcome(job("", time.time()), deferred, time.time())
    assert value(name, **{"class": kind}) == before + 1
    failed = Outcome(Status.FAILED, Stage.RCPT, Reply(550, "5.1.1", "no"), Signal.GREYLIST)
    count_outcome(job("", time.time()), failed, time.time())
    assert value(name, **{"class": kind}) == before + 1
    assert of("other", "failed") == others + 1


def test_a_message_counts_as_deferred_once_however_often_it_is_tried() -> None:
    name = "postroad_sender_deferred_messages_total"
    before = value(name)
    attempts = value("postroad_sender_outcomes_total", status="deferred")
    outcome = Outcome(Status.DEFERRED, Stage.RCPT, Reply(451, "4.7.1", "later"), Signal.GREYLIST)
    for attempt in range(3):
        count_outcome(job("", time.time(), attempt), outcome, time.time())
    assert value(name) == before + 1
    assert value("postroad_sender_outcomes_total", status="deferred") == attempts + 3
