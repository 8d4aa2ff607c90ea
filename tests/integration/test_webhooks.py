"""Webhooks on the whole road: from the REST order to the call at the end point, and to the page."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from typing_extensions import override

from postroad_common.mail.identifiers import new_id


class EndPoint(ThreadingHTTPServer):
    """Somebody's server: repeats challenges, keeps what it gets, and says what it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.status = 200
        self.calls: list[tuple[dict[str, str], bytes]] = []

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.calls]

    def about(self, message: str) -> set[str]:
        """Return what it was told of a message."""
        read = [json.loads(body) for _, body in self.calls]
        return {one["type"] for one in read if one["data"].get("id") == message}

    def traces(self, message: str) -> set[str | None]:
        """Return the traces that the calls about a message belong to."""
        ours = [headers for headers, body in self.calls if message in body.decode()]
        return {headers.get("traceparent") for headers in ours}


class _Handler(BaseHTTPRequestHandler):
    server: EndPoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls.append(({k.lower(): v for k, v in self.headers.items()}, body))
        answer = str(json.loads(body).get("data", {}).get("challenge", "")).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def end_point() -> Iterator[EndPoint]:
    with EndPoint() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def overview(road: Any) -> str:
    """Return the first page of the dashboard, as a browser gets it."""
    found = road.stack.document.dashboard
    with httpx.Client(base_url=found.url, follow_redirects=True, timeout=90) as browser:
        csrf: list[str] = []

        def is_asked() -> bool:
            form = browser.get("/dashboard/login").text
            csrf.extend(re.findall(r'name="csrf" value="(\w+)"', form))
            return bool(csrf)

        road.until(is_asked, "the dashboard asks who one is")
        fields = {"csrf": csrf[-1], "email": found.email, "password": found.password}
        page = browser.post("/dashboard/login", data=fields)
        assert page.status_code == 200
        return page.text


def test_webhook_is_proven_called_rotated_disabled_shown_and_replayed(
    road: Any, make_mail: Callable[..., EmailMessage], end_point: EndPoint
) -> None:
    began = time.time()
    api = road.api
    hook = api.post("/v1/webhooks", {"url": end_point.url, "events": ["accepted", "delivered"]})
    path = f"/v1/webhooks/{hook['id']}"

    # It proves that it wants the calls, and gets a test.
    api.post(f"{path}/verify")
    road.until(lambda: api.get(path)["verified"] is not None, "the end point is verified")
    api.post(f"{path}/test")
    # Mail of other tests may still be on its way, and is told of here as well.
    road.until(lambda: "test" in end_point.types(), "the test call has come")

    # Events come, each signed, and nothing that was not asked for.
    first = road.submit(make_mail(f"Mail {new_id()}"), ["bob@receiver.test"])
    wanted = {"accepted", "delivered"}
    road.until(lambda: end_point.about(first.id) == wanted, "both events are posted")
    for headers, body in end_point.calls:
        Webhook(hook["secret"]).verify(body, headers)

    # The trace that a mail comes with is told with its events, and is not in the mail.
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    subject = f"Mail {new_id()}"
    traced = make_mail(subject, headers={"X-Postroad-Traceparent": trace})
    by_smtp = road.submit(traced, ["bob@receiver.test"]).id
    fields = {"from": "a@shop.test", "recipient": "c@d.test", "to": "c@d.test"}
    fields |= {"subject": subject, "text": "Hello"}
    by_rest = next(iter(api.call("POST", "/v1/send", body=fields, headers={"traceparent": trace})))
    for message in (by_smtp, by_rest):
        road.until(lambda message=message: end_point.about(message) == wanted, "they are posted")
        assert end_point.traces(message) == {trace}
    for mail in road.received(subject, 2):
        assert b"traceparent" not in road.sink.raw(mail.number).lower()

    # While the key rotates both sign; afterwards only the new one does.
    new = api.post(f"{path}/rotate")["secret"]
    second = road.submit(make_mail(f"Mail {new_id()}"), ["bob@receiver.test"])
    road.until(lambda: end_point.about(second.id) == wanted, "they are posted in the rotation")
    headers, body = end_point.calls[-1]
    for secret in (hook["secret"], new):
        Webhook(secret).verify(body, headers)
    api.delete(f"{path}/rotation")

    # "Gone" disables it; the dashboard says so, and the delivery log why.
    end_point.status = 410
    third = road.submit(make_mail(f"Mail {new_id()}"), ["bob@receiver.test"])
    road.until(lambda: api.get(path)["disabled"], "the end point is disabled")
    assert "410" in api.get(path)["reason"]
    page = overview(road)
    assert "A webhook is disabled" in page
    assert end_point.url in page
    road.wait_state(third.id, "delivered")
    failed = [item["id"] for item in api.get(f"{path}/deliveries")["items"] if item["tries"]]
    logs = [api.get(f"{path}/deliveries/{delivery}")["log"] for delivery in failed]
    assert {410, 200} <= {entry["status"] for log in logs for entry in log}

    # Started again it gets what it missed, by an order for a range of time.
    end_point.status = 200
    end_point.calls.clear()
    api.patch(path, {"disabled": False})
    api.post(f"{path}/replay", {"start": str(int(began))})
    for message in (first, second, third):
        road.until(
            lambda message=message: end_point.about(message.id) == wanted, "all is posted again"
        )
    headers, body = end_point.calls[-1]
    Webhook(new).verify(body, headers)
    with pytest.raises(Exception, match="signature"):
        Webhook(hook["secret"]).verify(body, headers)
    assert "A webhook is disabled" not in overview(road)
    api.delete(path)
