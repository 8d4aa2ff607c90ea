"""One rule about which addresses may be called."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.publicaddress import carried, is_public, is_public_text

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "::ffff:0:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2606:4700:4700::1111%eth0",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "2a00:1450::1"]


@pytest.mark.parametrize("text", PRIVATE)
def test_addresses_that_not_everybody_can_reach_are_not_public(text: str):
    assert not is_public(ipaddress.ip_address(text))
    assert not is_public_text(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_on_the_internet_are_public(text: str):
    assert is_public(ipaddress.ip_address(text))
    assert is_public_text(text)


@pytest.mark.parametrize("text", ["", "nonsense", "127.1", "0x7f000001", "1.1.1.1:25", "[::1]"])
def test_what_is_no_address_is_not_public(text: str):
    assert not is_public_text(text)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_the_address_itself(address: ipaddress.IPv4Address):
    for text in (f"::ffff:{address}", f"::ffff:0:{address}", f"64:ff9b::{address}"):
        wrapped = ipaddress.ip_address(text)
        assert carried(wrapped) == address
        assert is_public(wrapped) == is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_public(address: ipaddress.IPv4Address):
    if is_public(address):
        assert address.is_global or carried(address).is_global
