from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.identifiers import new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import Keyring, LinkKind, LinkSigner

OLD = "an old secret of the house"
NEW = "a new secret of the house"
BASE = "https://click.example.com"
SIGNER = LinkSigner(Keyring([NEW, OLD]), BASE)


def path_of(url: str) -> str:
    return url.removeprefix(BASE)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 2**24 - 1))
def test_click_leads_back_to_the_exact_target(target: bytes, number: int) -> None:
    message = new_id()
    token = SIGNER.read_path(path_of(SIGNER.click(message, number, target)))
    assert token is not None
    assert (token.kind, token.message_id, token.number, token.target) == (
        LinkKind.CLICK,
        message,
        number,
        target,
    )


def test_other_kinds_of_links_are_read_back() -> None:
    message = new_id()
    for url, kind in (
        (SIGNER.open(message), LinkKind.OPEN),
        (SIGNER.unsubscribe(message), LinkKind.UNSUBSCRIBE),
        (SIGNER.image(message, 2, b"http://a.test/i.png"), LinkKind.IMAGE),
    ):
        token = SIGNER.read_path(path_of(url))
        assert token is not None
        assert token.kind is kind


@given(st.data())
def test_changing_any_character_of_a_link_makes_it_worthless(data: st.DataObject) -> None:
    path = path_of(SIGNER.click(new_id(), 1, b"https://example.com/?q=1"))
    index = data.draw(st.integers(0, len(path) - 1))
    char = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = path[:index] + char + path[index + 1 :]
    if changed != path:
        assert SIGNER.read_path(changed) is None


def test_kind_of_a_link_cannot_be_changed() -> None:
    image = path_of(SIGNER.image(new_id(), 0, b"http://a.test/"))
    assert SIGNER.read_path("/c" + image[2:]) is None


@given(st.text(max_size=200))
def test_any_path_is_answered_without_a_crash(path: str) -> None:
    assert SIGNER.read_path("/c" + path) is None


def test_old_secret_verifies_after_rotation_and_a_foreign_one_does_not() -> None:
    message = new_id()
    before = LinkSigner(Keyring([OLD]), BASE).click(message, 0, b"http://a.test/")
    assert SIGNER.read_path(path_of(before)) is not None
    foreign = LinkSigner(Keyring(["somebody else's secret"]), BASE).click(message, 0, b"http://a/")
    assert SIGNER.read_path(path_of(foreign)) is None


def test_empty_keyring_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        Keyring([])


def test_processes_at_neighbouring_steps_of_a_rotation_know_what_the_others_sign() -> None:
    """As docs/operations/keys.md has it; put first at once, the new one is not known to all."""

    def knows(reader: list[str], writer: list[str]) -> bool:
        link = LinkSigner(Keyring(writer), BASE).click(new_id(), 0, b"http://a.test/")
        return LinkSigner(Keyring(reader), BASE).read_path(path_of(link)) is not None

    steps = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
    for before, after in pairwise(steps):
        assert knows(before, after)
        assert knows(after, before)
    assert not knows([OLD], [NEW, OLD])


def test_two_secrets_with_the_same_id_are_refused_instead_of_forgetting_one() -> None:
    first = "a secret of the tests"
    twin = next(
        text
        for number in range(10_000)
        if Keyring([text := f"another secret {number}"]).key_id == Keyring([first]).key_id
    )
    with pytest.raises(ValueError, match="cannot be told apart"):
        Keyring([first, twin])
    assert Keyring([first, first]).key_id == Keyring([first]).key_id


ADDRESSES = BounceAddresses(Keyring([NEW, OLD]), "Bounce.Example.com", 30 * 86400)


def test_bounce_address_is_short_and_verifies_in_any_case() -> None:
    message = new_id(1e9)
    address = ADDRESSES.address(message)
    assert len(address.rpartition("@")[0]) <= 64
    assert ADDRESSES.verify(address.upper(), 1e9 + 60).message_id == message


def test_bounce_address_expires_and_those_of_the_future_are_not_ours() -> None:
    address = ADDRESSES.address(new_id(1e9))
    assert ADDRESSES.verify(address, 1e9 + 31 * 86400).refused == "expired"
    assert ADDRESSES.verify(address, 1e9 - 7200).refused == "expired"


@given(st.data())
def test_changing_any_character_of_a_bounce_address_makes_it_forged(data: st.DataObject) -> None:
    address = ADDRESSES.address(new_id(1e9))
    index = data.draw(st.integers(0, address.index("@") - 1))
    char = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-+=."))
    changed = address[:index] + char + address[index + 1 :]
    if changed != address:
        assert ADDRESSES.verify(changed, 1e9).message_id is None


def test_address_on_a_customers_host_is_ours_there_and_nowhere_else() -> None:
    message = new_id(1e9)
    address = ADDRESSES.address(message, "Bounces.Shop.example")
    assert address.endswith("@bounces.shop.example")
    assert ADDRESSES.verify(address.upper(), 1e9).message_id == message
    local = address.partition("@")[0]
    assert ADDRESSES.verify(f"{local}@elsewhere.example", 1e9).refused == "foreign"
    assert ADDRESSES.verify(f"{local}@{ADDRESSES.domain}", 1e9).refused == "forged"
    common = ADDRESSES.address(message).partition("@")[0]
    assert ADDRESSES.verify(f"{common}@bounces.shop.example", 1e9).refused == "foreign"


def test_foreign_domain_is_told_apart() -> None:
    assert ADDRESSES.verify("joe@example.com", 1e9).refused == "foreign"
    assert ADDRESSES.verify("joe@bounce.example.com", 1e9).refused == "forged"


def test_bounce_address_of_an_old_secret_still_verifies() -> None:
    old = BounceAddresses(Keyring([OLD]), "bounce.example.com").address(new_id(1e9))
    assert ADDRESSES.verify(old, 1e9).message_id is not None


def test_many_heads_at_once_are_those_made_one_by_one():
    links = SIGNER.for_message(new_id())
    places = [
        (kind, number, target)
        for number, (kind, target) in enumerate(
            [
                (LinkKind.CLICK, b"https://a.test/?x=1"),
                (LinkKind.IMAGE, b"https://b.test/\xff"),
                (LinkKind.OPEN, b""),
                (LinkKind.UNSUBSCRIBE, b""),
            ]
        )
    ]
    assert links.heads(places) == [links.head(*place).encode() for place in places]
    assert links.heads([]) == []
