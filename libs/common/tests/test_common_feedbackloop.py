"""Addresses for complaints: what was made is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.feedbackloop import FeedbackAddress, FeedbackAddresses
from postroad_common.tokens import Keyring

KEYS = Keyring(("a-secret-of-sixteen", "the-secret-before-it"))
ADDRESSES = FeedbackAddresses(KEYS, "bounces.example")


@given(st.text(max_size=100))
def test_the_address_of_an_account_is_read_in_any_case(account: str):
    address = ADDRESSES.secret_address(account)
    for spelling in (address, address.upper()):
        assert ADDRESSES.read(spelling) == FeedbackAddress(secret=True, account=account)


def test_the_open_address_is_no_secret():
    assert ADDRESSES.read("FBL@Bounces.Example") == FeedbackAddress(secret=False)


def test_an_address_signed_with_the_key_before_still_holds():
    before = FeedbackAddresses(Keyring(("the-secret-before-it",)), "bounces.example")
    assert ADDRESSES.read(before.secret_address("acc")) == FeedbackAddress(
        secret=True, account="acc"
    )


def test_accounts_up_to_26_octets_fit_into_a_local_part_of_64():
    local = ADDRESSES.secret_address("a" * 26).partition("@")[0]
    assert len(local) <= 64


@pytest.mark.parametrize("account", ["", "acc"])
def test_each_octet_of_the_signature_counts(account: str):
    local, _, domain = ADDRESSES.secret_address(account).partition("@")
    for place in range(len(local) - 16, len(local)):
        other = "0" if local[place] != "0" else "1"
        forged = f"{local[:place]}{other}{local[place + 1 :]}@{domain}"
        assert ADDRESSES.read(forged) is None


def test_the_signature_of_one_account_is_of_no_use_to_another():
    mine, theirs = (
        ADDRESSES.secret_address(name).partition("@")[0].split("-") for name in ("acc", "bcc")
    )
    assert ADDRESSES.read(f"fbl-{theirs[1]}-{mine[2]}@bounces.example") is None
    assert ADDRESSES.read(f"fbl-{mine[2]}@bounces.example") is None


@given(st.text(max_size=60))
def test_nothing_else_is_an_address_for_complaints(text: str):
    assert ADDRESSES.read(f"fbl-{text}@bounces.example") is None
    assert ADDRESSES.read(f"fbl{text}@elsewhere.example") is None
