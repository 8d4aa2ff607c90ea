from postroad_bounce_processor.reporting.forward import MARK, forward, is_loop
from postroad_common.mail.mime import read
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Client

DOMAIN = "bounce.example"
RAW = b"From: mailer-daemon@x\r\nSubject: Undelivered\r\n\r\nbody \xff\r\n"


def _return() -> Return:
    return Return(
        id="r1",
        received=1_800_000_000.0,
        mail_from="",
        recipient="b1@bounce.example",
        message_id="m1",
        client=Client(ip="192.0.2.1", helo="mx\r\nX-Evil: 1", protocol="ESMTP"),
        size=len(RAW),
    )


def _forward(raw: bytes) -> bytes:
    made = forward(
        read(raw), _return(), forward_id="f1", hostname="relay.example", bounce_domain=DOMAIN
    )
    return made.head + raw[made.skip :]


def test_every_octet_of_the_return_is_kept_behind_the_trace():
    sent = _forward(RAW)
    assert sent.endswith(RAW)
    assert sent.startswith(b"Received: from mxX-Evil:1 ([192.0.2.1]) by relay.example (Postroad)")
    assert f"{MARK}: m1@{DOMAIN}\r\n".encode() in sent


def test_a_second_try_writes_the_same_octets():
    assert _forward(RAW) == _forward(RAW)


def test_an_mbox_line_is_left_out_and_a_mail_without_header_kept():
    assert b"\r\nFrom x" not in _forward(b"From x Fri\nSubject: a\n\nbody")
    assert _forward(b"no header at all").endswith(b"no header at all")
    endless = b"X: " + b"a" * 300_000
    assert _forward(b"From x Fri\n" + endless).endswith(b"\r\n" + endless)


def test_what_was_forwarded_by_us_is_a_loop_and_by_others_is_not():
    assert is_loop(read(_forward(RAW)), DOMAIN)
    assert not is_loop(read(_forward(RAW)), "bounce.other.example")
    assert not is_loop(read(RAW), DOMAIN)


def test_mark_in_the_returned_message_itself_is_no_loop():
    raw = RAW + f"{MARK}: m1@{DOMAIN}\r\n".encode()
    assert not is_loop(read(raw), DOMAIN)


def test_too_many_hops_are_a_loop():
    assert is_loop(read(b"Received: by x\r\n" * 31 + RAW), DOMAIN)
    assert not is_loop(read(b"Received: by x\r\n" * 30 + RAW), DOMAIN)
