"""A client's own Message-ID as a number by which its mail is found again."""

from postroad_common.mail.identifiers import new_id
from postroad_common.mail.messageid import HASH_BITS, dated, hash_of, message_id_hash


def test_clients_message_id_is_hashed_wherever_it_stands_and_however_it_is_spelt():
    wanted = hash_of("<a.1@app.example>")
    assert 0 < wanted < 2**HASH_BITS
    for field in (b"Message-ID: <a.1@app.example>", b"message-id:\r\n <a.1@app.example>"):
        assert message_id_hash(b"From: a@b.example\r\n" + field + b"\r\n\r\nbody\r\n") == wanted
    assert message_id_hash(b"From: a@b.example\r\n\r\nMessage-ID: <a.1@app.example>\r\n") == 0
    assert message_id_hash(f"Message-ID: <{new_id()}@relay.example>\r\n\r\n".encode()) == 0
    assert hash_of("") == hash_of("<>") == 0
    days = {dated(wanted, day * 86_400.0) for day in (0, 20_000, 40_000)}
    assert len(days) == 3
    assert max(days) < 2**63
