"""Reading what is in a mail: within bounds, and never anything that cannot be shown."""

import email

from postroad_common.tokens import Keyring, LinkSigner
from postroad_ingress_http.history import preview
from postroad_ingress_http.history.content import MAX_PARTS, MailContent

SIGNER = LinkSigner(Keyring(("a secret of the tests",)), "https://track.example")
RAW = (
    b"From: Shop <shop@a.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    b"--m\r\nContent-Type: image/png; name=logo.png\r\nContent-ID: <logo@x>\r\n\r\nx\r\n"
    b"--m\r\nContent-Type: application/pdf\r\n"
    b"Content-Disposition: attachment;\r\n filename*0*=UTF-8''%C3%9Cber;\r\n"
    b" filename*1=sicht.pdf\r\n\r\n"
    b"y\r\n--m--\r\n"
)


def test_a_hundred_thousand_parts_are_read_within_bounds():
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000
    content = MailContent(raw)
    assert content.is_cut
    assert len(content.attachments) < MAX_PARTS
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(2000)
    )
    assert MailContent(nested).text is None


def test_names_and_headers_are_read_as_the_standard_library_reads_them():
    known = email.message_from_bytes(RAW)
    names = [part.get_filename() for part in known.walk() if part.get_filename()]
    content = MailContent(RAW)
    assert {file.name for file in (*content.attachments, *content.embeds)} == set(names)
    assert dict(content.headers)["subject"] == "Grüße"


def test_hostile_names_lose_what_cannot_be_shown():
    raw = (
        b"Content-Type: application/x-a\r\n"
        b'Content-Disposition: attachment; filename="a\x07b\xff\x1b[31m.txt"\r\n\r\nx'
    )
    (file,) = MailContent(raw).attachments
    assert file.name.isprintable()
    assert file.name.encode()


def test_reading_links_of_a_hostile_page_takes_time_in_proportion():
    for atom in ("<a ", "<a href=", '<a href="x', "<a href=x>", "https://a/b/c/", "<!--", "<"):
        html = atom * (262_144 // len(atom))
        assert len(preview.find_links(html, SIGNER)) <= preview.MAX_LINKS
        raw = b"Content-Type: text/html\r\n\r\n" + html.encode()
        assert preview.frame(MailContent(raw), SIGNER)


def test_image_that_the_html_shows_is_no_attachment_whatever_it_calls_itself():
    image = (
        b"--b\r\nContent-Type: image/png\r\nContent-ID: <%s>\r\n"
        b"Content-Disposition: attachment; filename=%s.png\r\n\r\nx\r\n"
    )
    raw = (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<img src=cid:one>\r\n"
        + image % (b"one", b"one")
        + image % (b"two", b"two")
        + b"--b--\r\n"
    )
    content = MailContent(raw)
    assert [file.name for file in content.embeds] == ["one.png"]
    assert [file.name for file in content.attachments] == ["two.png"]


def test_page_is_light_or_dark_as_asked_for():
    rule = "@media (prefers-color-scheme:{}) {{p{{}}}}"
    html = "<style>" + rule.format(" Dark ") + rule.format("light") + "</style>"
    content = MailContent(b"Content-Type: text/html\r\n\r\n" + html.encode())
    dark = preview.frame(content, SIGNER, dark=True)
    light = preview.frame(content, SIGNER)
    assert dark.index("(min-width: 0)") < dark.index("(max-width: 0)")
    assert light.index("(max-width: 0)") < light.index("(min-width: 0)")
    assert '<meta name="color-scheme" content="dark">' in dark
    assert '<meta name="color-scheme" content="light">' in light
