"""Lists and files of the REST API as the command reads them, from a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from postroad_cli.api.rows import fetch
from postroad_cli.terminal import echo_file
from postroad_stack.errors import RestError
from postroad_stack.rest import RestClient

PAGES = {
    "": {"items": [], "cursor": "b"},
    "b": {"items": [{"id": "1"}], "cursor": "c"},
    "c": {"items": [], "cursor": "d"},
    "d": {"items": [{"id": "2"}, {"id": "3"}], "cursor": None},
}


LINES = [f"{number},é\r\n" * 3000 for number in range(3)]
"""More than is read at once, each."""


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    more = threading.Semaphore(0)
    """Lets the next part of a file be sent."""

    def do_GET(self) -> None:
        if self.path.startswith("/file"):
            self._send_file()
            return
        cursor = parse_qs(urlsplit(self.path).query).get("cursor", [""])[0]
        body = json.dumps(PAGES[cursor]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self) -> None:
        """Send `LINES`, each when the client has told that it has the one before."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        whole = "".join(LINES).encode()
        chunked = "chunked" in self.path
        header = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(whole))
        self.send_header(header[0], str(header[1]))
        self.end_headers()
        for line in LINES:
            assert self.more.acquire(timeout=30)
            piece = line.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if "broken" in self.path:
                return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

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


@pytest.mark.parametrize("path", ["/file/chunked", "/file/whole"])
def test_file_is_read_as_it_arrives_and_no_line_end_is_taken_apart(api: RestClient, path: str):
    pieces = api.pieces(path)
    found = ""
    for number, line in enumerate(LINES):
        _Pages.more.release()
        begun = "".join(LINES[:number]) + line[: len(line) // 2]
        while len(found) < len(begun):  # a piece that waited for what is not sent would hang
            piece = next(pieces)
            assert not piece.endswith("\r")
            found += piece
    assert found + "".join(pieces) == "".join(LINES)


@pytest.mark.parametrize("path", ["/file/chunked/broken", "/file/whole/broken"])
def test_file_that_breaks_off_is_an_error_after_what_came(api: RestClient, path: str):
    _Pages.more.release()
    pieces = api.pieces(path)
    assert LINES[0].startswith(next(pieces))
    with pytest.raises(RestError) as caught:
        list(pieces)
    assert caught.value.status == 0


def test_file_is_scrubbed_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    echo_file(["a\x1b\r\n", "b\r\n"])
    assert capsys.readouterr().out == "a\x1b\r\nb\r\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    echo_file(["a\x1b\r\n", "b\r\n"])
    assert capsys.readouterr().out == "a\N{REPLACEMENT CHARACTER}\nb\n"
