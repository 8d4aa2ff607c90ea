"""A collector of OpenTelemetry on loopback: it keeps the spans that it is sent as OTLP in JSON."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

PATH = "/v1/traces"


class SpanCollector(ThreadingHTTPServer):
    """Takes spans at `url`; they are as they came, in the order of their arrival."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.url = f"http://127.0.0.1:{self.server_port}{PATH}"
        self.spans: list[dict[str, Any]] = []

    def of_trace(self, trace: str) -> list[dict[str, Any]]:
        """Return the spans of one trace; the id is in hex."""
        return [span for span in self.spans if span["traceId"] == trace]


class _Receiver(BaseHTTPRequestHandler):
    server: SpanCollector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take one request of an exporter."""
        body = self.rfile.read(int(self.headers["content-length"]))
        is_ours = (self.path, self.headers["content-type"]) == (PATH, "application/json")
        if is_ours:
            for resource in json.loads(body)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    self.server.spans += scope["spans"]
        self.send_response(200 if is_ours else 400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def running_span_collector() -> Iterator[SpanCollector]:
    """Yield a collector that listens until the block ends."""
    with SpanCollector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
