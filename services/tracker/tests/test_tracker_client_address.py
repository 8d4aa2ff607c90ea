import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_tracker.client_address import ClientAddresses

PROXIES = ClientAddresses([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])


def test_without_trusted_proxies_the_header_is_ignored():
    assert ClientAddresses([]).address("10.0.0.1", b"203.0.113.9") == "10.0.0.1"


def test_a_stranger_cannot_choose_his_address():
    assert PROXIES.address("198.51.100.7", b"203.0.113.9") == "198.51.100.7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"203.0.113.9", "203.0.113.9"),
        (b"1.2.3.4, 203.0.113.9", "203.0.113.9"),
        (b"1.2.3.4, 203.0.113.9, 10.2.2.2", "203.0.113.9"),
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b"[2001:db8::1]:4711, fd00::2", "2001:db8::1"),
        (b"10.1.1.1", "10.1.1.1"),
        (b"1.2.3.4, rubbish", "10.0.0.1"),
        (b"1.2.3.4, rubbish, 10.3.3.3", "10.3.3.3"),
        (b"", "10.0.0.1"),
    ],
)
def test_header_counts_as_far_as_trusted_proxies_wrote_it(header: bytes, expected: str):
    assert PROXIES.address("10.0.0.1", header) == expected


def test_a_proxy_seen_through_a_mapped_address_is_trusted():
    assert PROXIES.address("::ffff:10.0.0.1", b"203.0.113.9") == "203.0.113.9"


@given(st.binary(max_size=2000))
def test_whatever_the_header_says_an_address_comes_out(header: bytes):
    ipaddress.ip_address(PROXIES.address("10.0.0.1", header))
