"""Mail whose HTML is an attack, on the whole road: it arrives, and so does everybody else's."""

from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

HEAD = (
    "From: Shop <shop@shop.test>\r\nTo: Ann <ann@receiver.test>\r\nSubject: {}\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
)


def heavy_mail(subject: str, css: str, html: str) -> bytes:
    rows = "\r\n".join(css[at : at + 900] for at in range(0, len(css), 900))
    text = f"<html><head><style>\r\n{rows}</style></head><body>\r\n{html}</body></html>\r\n"
    return (HEAD.format(subject) + text).encode()


def test_a_sheet_of_at_signs_is_read_at_once_and_its_rules_are_inlined(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    css = ".a{color:red}" + "@url(" * 9_600
    hostile = road.submit(heavy_mail(subject, css, '<p class="a">x</p>'), ["ann@receiver.test"])
    other = road.submit(make_mail(f"{subject} b"), ["bob@receiver.test"], login=road.login(()))
    road.wait_state(other.id, "delivered")
    road.wait_state(hostile.id, "delivered")
    [arrived] = road.received(subject)
    assert b'<p style="color: red" class="a">' in road.sink.raw(arrived.number)


def test_html_that_takes_too_long_goes_out_as_it_came_and_the_timeline_says_why(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    # Every rule matches every element, for which the engine takes quadratic time: many seconds.
    raw = heavy_mail(subject, "p{a:b}" * 1_500, "<p>x</p>\r\n" * 1_500)
    hostile = road.submit(raw, ["ann@receiver.test"])
    other = road.submit(make_mail(f"{subject} b"), ["bob@receiver.test"], login=road.login(()))
    road.wait_state(other.id, "delivered")
    road.wait_state(hostile.id, "delivered")
    [arrived] = road.received(subject)
    assert road.sink.raw(arrived.number).endswith(raw.partition(b"\r\n\r\n")[2])
    told = road.wait_event(hostile.id, "transformed")
    assert "HTML left as it is: it takes more than" in str(told)
