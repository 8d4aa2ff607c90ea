"""Lists of the REST API as the command reads them, from a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from postroad_cli.api.rows import fetch
from postroad_stack.rest import RestClient

PAGES = {
    "": {"items": [], "cursor": "b"},
    "b": {"items": [{"id": "1"}], "cursor": "c"},
    "c": {"items": [], "cursor": "d"},
    "d": {"items": [{"id": "2"}, {"id": "3"}], "cursor": None},
}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        cursor = parse_qs(urlsplit(self.path).query).get("cursor", [""])[0]
        body = json.dumps(PAGES[cursor]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[RestClient]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield RestClient(f"http://127.0.0.1:{server.server_port}", "token")
    server.shutdown()
    thread.join()
    server.server_close()


def test_list_is_read_on_over_empty_pages_until_there_is_no_cursor(api: RestClient):
    assert [row["id"] for row in fetch(api, "/v1/messages", limit=10)] == ["1", "2", "3"]
    assert [row["id"] for row in fetch(api, "/v1/messages", limit=2)] == ["1", "2"]
