"""One file by URL: what is taken, and everything that a server or its name may try."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.web.guard import UrlGuard
from postroad_ingress_http.fetching.download import READ_SECONDS, FetchedFile, FileClient
from postroad_ingress_http.fetching.errors import (
    FileTooLargeError,
    NoRoomError,
    UnreachableError,
    UrlRefusedError,
)
from postroad_ingress_http.fetching.filenames import clean_name, name_file
from postroad_ingress_http.fetching.places import MAILS_OF_ACCOUNT, Allowance, FetchPlaces
from postroad_testing.certificates import Authority
from postroad_testing.fileserver import FileServer, http_answer

LOOPBACK = ("127.0.0.1/32",)
PDF = b"%PDF-1.4\n\x00\xff"
MOST = 10_000


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer({"/a.pdf": http_answer(PDF)}).running() as running:
        yield running


class Names:
    """A name server that gives another answer to each question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def addresses(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if self._answers else ["127.0.0.1"]


def client(
    names: Names | None = None,
    allowed: Sequence[str] = LOOPBACK,
    schemes: Sequence[str] = ("http", "https"),
    tls: ssl.SSLContext | None = None,
    read_seconds: float = READ_SECONDS,
) -> FileClient:
    networks = [ipaddress.ip_network(text) for text in allowed]
    guard = UrlGuard(networks, (names or Names()).addresses)
    return FileClient(guard, schemes, tls=tls, read_seconds=read_seconds)


def allowance(most: int = MOST) -> Allowance:
    return Allowance(FetchPlaces(10 * most), "acme", most)


async def fetched(url: str, by: FileClient | None = None, most: int = MOST) -> FetchedFile:
    return await (by or client()).fetch(url, allowance(most))


async def test_file_comes_with_the_type_and_name_that_its_server_gives(server: FileServer):
    headers = {
        "Content-Type": "Application/PDF; charset=x",
        "Content-Disposition": "attachment; filename*=UTF-8''Rechnung%20%C3%BC.pdf",
    }
    server.answers["/download?id=1"] = http_answer(PDF, headers=headers)
    found = await fetched(server.url("/download?id=1", "files.example"))
    assert found == FetchedFile(PDF, "application/pdf", "Rechnung ü.pdf")
    head = server.heads[0].lower()
    assert f"host: files.example:{server.port}" in head
    assert "user-agent: postroad-attachments/1" in head
    assert "authorization" not in head
    assert "cookie" not in head


async def test_file_in_chunks_or_to_the_end_of_the_connection_is_whole(server: FileServer):
    server.answers["/chunks"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    server.answers["/end"] = b"HTTP/1.0 200 OK\r\n\r\nabcde"
    for path in ("/chunks", "/end"):
        assert (await fetched(server.url(path))).data == b"abcde"


@pytest.mark.parametrize("announced", [True, False])
async def test_file_above_the_limit_is_not_read_to_its_end(server: FileServer, announced: bool):  # noqa: FBT001 - a parameter
    head = f"Content-Length: {MOST + 1}" if announced else "X-Length: none"
    body = b"" if announced else b"x" * (MOST + 1)
    server.answers["/big"] = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body
    server.stalled.add("/big")  # whoever reads on waits until the time is over
    with pytest.raises(FileTooLargeError, match=str(MOST)):
        await fetched(server.url("/big"))
    server.answers["/just"] = http_answer(b"x" * MOST)
    assert len((await fetched(server.url("/just"))).data) == MOST


BAD_ANSWERS = {
    "not found": http_answer(status="404 Not Found"),
    "refused": http_answer(status="403 Forbidden"),
    "a part": http_answer(b"x", status="206 Partial Content"),
    "nothing": http_answer(status="204 No Content"),
    "compressed": http_answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "cut off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    "another protocol": b"220 mail.example ESMTP\r\n",
    "no words": b"",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "redirect to nowhere": http_answer(status="302 Found"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_answer_that_is_no_file_is_none(server: FileServer, answer: bytes):
    server.answers["/x"] = answer
    with pytest.raises(UnreachableError):
        await fetched(server.url("/x"))


async def test_server_that_falls_silent_is_left(server: FileServer):
    server.answers |= {"/head": b"HTTP/1.1 200 OK\r\n", "/body": http_answer(b"x" * 9)[:-5]}
    server.stalled |= {"/head", "/body"}
    for path in ("/head", "/body"):
        with pytest.raises(UnreachableError, match="in time"):
            await fetched(server.url(path), client(read_seconds=0.2))


async def test_nobody_listens():
    async with FileServer().running() as gone:
        port = gone.port
    with pytest.raises(UnreachableError, match="connected"):
        await fetched(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed(server: FileServer, status: int):
    server.answers["/old"] = http_answer(status=f"{status} x", headers={"Location": "/a.pdf#top"})
    found = await fetched(server.url("/old"))
    assert (found.data, found.name) == (PDF, "old")


async def test_redirects_end(server: FileServer):
    server.answers["/loop"] = http_answer(status="302 x", headers={"Location": "/loop"})
    with pytest.raises(UnreachableError, match="redirects more than 5 times"):
        await fetched(server.url("/loop"))
    assert server.got["/loop"] == 6


REFUSED = [
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://2130706434/",
    "http://0x7f.2/",
    "http://127.0.0.2:8080/",
    "http://0.0.0.0/",
    "ftp://files.example/a",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/_x",
    "//",
    "http://user:pass@files.example/",
    "http://user@files.example/",
    "http://files.example:25/",
    "http://files.example:11211:80/",
    "http://",
    "",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_url_that_may_not_be_fetched_is_refused_also_as_a_redirect(
    server: FileServer, url: str
):
    if url:
        with pytest.raises(UrlRefusedError):
            await fetched(url)
    server.answers["/away"] = http_answer(status="302 Found", headers={"Location": url})
    if url not in {"", "//", "http://"}:
        with pytest.raises(UrlRefusedError):
            await fetched(server.url("/away"))


async def test_refusal_does_not_tell_the_address_of_a_name():
    with pytest.raises(UrlRefusedError) as caught:
        await fetched("http://inside.example/", client(Names(["10.7.7.7"])))
    assert "10.7.7.7" not in str(caught.value)


async def test_name_that_changes_its_address_leads_to_the_one_that_was_checked(
    server: FileServer,
):
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    found = await fetched(server.url("/a.pdf", "rebind.example"), client(names))
    assert found.data == PDF
    assert names.asked == ["rebind.example"]  # once: there is no second answer to use


async def test_name_is_checked_again_after_a_redirect(server: FileServer):
    there = server.url("/a.pdf", "rebind.example")
    server.answers["/old"] = http_answer(status="302 x", headers={"Location": there})
    names = Names(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"])
    with pytest.raises(UrlRefusedError):
        await fetched(server.url("/old", "rebind.example"), client(names))
    assert server.got == {"/old": 1}


async def test_loopback_is_refused_unless_it_is_allowed(server: FileServer):
    with pytest.raises(UrlRefusedError):
        await fetched(server.url("/a.pdf"), client(allowed=()))
    with pytest.raises(UrlRefusedError):
        await fetched(server.url("/a.pdf", "localhost"), client(allowed=()))
    assert not server.got


async def test_https_only_where_the_operator_says_so(tmp_path: Path, server: FileServer):
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.file))
    secure_only = client(schemes=("https",), tls=trusting)
    with pytest.raises(UrlRefusedError, match="https only"):
        await fetched(server.url("/a.pdf"), secure_only)
    tls = authority.issue("files.example").context()
    plain = server.url("/a.pdf")
    away = http_answer(status="302 x", headers={"Location": plain})
    answers = {"/a.pdf": http_answer(PDF), "/away": away}
    async with FileServer(answers).running(tls) as secure:
        found = await fetched(secure.url("/a.pdf", "files.example", "https"), secure_only)
        assert found.data == PDF
        with pytest.raises(UrlRefusedError, match="from https to http"):
            await fetched(secure.url("/away", "files.example", "https"), client(tls=trusting))
        with pytest.raises(UnreachableError, match="certificate"):
            await fetched(secure.url("/a.pdf", "other.example", "https"), secure_only)
        with pytest.raises(UnreachableError, match="certificate"):
            await fetched(secure.url("/a.pdf", "files.example", "https"), client())


NAMES = [
    ("", "https://x.example/dir/my%20file.pdf?x=/y.exe", None, "my file.pdf"),
    ("", "https://x.example/", None, None),
    ("", "https://x.example/get", "application/pdf", "get.pdf"),
    ('attachment; filename="../../etc/passwd"', "https://x.example/a", None, "passwd"),
    (
        'attachment; filename="C:\\\\Users\\\\x\\\\bill.doc"',
        "https://x.example/a",
        None,
        "bill.doc",
    ),
    ("attachment; filename*=utf-8''a%0D%0AX:%20y.txt", "https://x.example/", None, "a X y.txt"),
    ("attachment; filename*=nonsense''%ff.txt", "https://x.example/b.txt", None, "ÿ.txt"),
    ("attachment; filename*=idna''%ff", "https://x.example/b.txt", None, "b.txt"),
    ("attachment; filename=" + "a" * 3000, "https://x.example/b.txt", None, "b.txt"),
    ("inline", "https://x.example/%2e%2e%2fc", None, "c"),
    ("", "https://x.example/photo\u202egpj.exe", None, "photogpj.exe"),
]


@pytest.mark.parametrize(("disposition", "url", "media_type", "name"), NAMES)
def test_name_is_that_of_the_server_or_of_the_url(
    disposition: str, url: str, media_type: str | None, name: str | None
):
    assert name_file(disposition, url, media_type) == name


@given(st.text(max_size=400))
def test_name_is_short_and_has_nothing_that_is_not_seen(text: str):
    name = clean_name(text)
    assert len(name) <= 150
    assert name.isprintable()
    assert not set(name) & set('/\\<>:"|?*')
    assert name == name.strip(". ")


def test_account_with_many_or_large_files_leaves_room_for_others():
    places = FetchPlaces(300)
    mine, other = Allowance(places, "acme", 1000), Allowance(places, "other", 1000)
    mine.take(100)
    with pytest.raises(NoRoomError) as caught:
        mine.take(1)
    assert caught.value.busy_account
    other.take(100)
    mine.release()
    mine.take(100)
    Allowance(places, "third", 1000).take(100)
    with pytest.raises(NoRoomError) as caught:
        Allowance(places, "fourth", 1000).take(1)
    assert not caught.value.busy_account


def test_account_has_so_many_mails_that_wait_for_files():
    places = FetchPlaces(300)
    mails = [places.mail("acme") for _ in range(MAILS_OF_ACCOUNT)]
    for mail in mails:
        mail.__enter__()
    with pytest.raises(NoRoomError), places.mail("acme"):
        pass
    with places.mail("other"):
        pass
    mails.pop().__exit__(None, None, None)
    with places.mail("acme"):
        pass
