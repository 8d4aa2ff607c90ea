import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_feedback.guard import CallRefusedError, Guard, carried, check_url, is_public

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
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
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "2a00:1450::1"]


def guard(*addresses: str, allowed: Sequence[str] = ()) -> Guard:
    async def resolve(host: str) -> Sequence[str]:
        if not addresses:
            raise OSError(f"{host} does not exist")
        return addresses

    return Guard([ipaddress.ip_network(text) for text in allowed], resolve)


@pytest.mark.parametrize("address", PRIVATE)
async def test_addresses_that_are_not_public_are_refused(address: str):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(CallRefusedError):
        await guard(address).addresses("hooks.example.com")
    with pytest.raises(CallRefusedError):
        await guard().addresses(address)


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_may_be_called(address: str):
    assert await guard(address).addresses("hooks.example.com") == [
        str(ipaddress.ip_address(address))
    ]


async def test_a_name_with_one_private_address_is_refused_as_a_whole():
    with pytest.raises(CallRefusedError):
        await guard("1.1.1.1", "10.0.0.1").addresses("hooks.example.com")


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.1"])
async def test_odd_spellings_of_an_address_are_addresses(host: str):
    with pytest.raises(CallRefusedError):
        await guard("1.1.1.1").addresses(host)


async def test_the_operator_can_allow_a_network_and_nothing_else():
    allowing = guard("10.1.2.3", allowed=["10.1.2.0/24"])
    assert await allowing.addresses("hooks.internal") == ["10.1.2.3"]
    assert await allowing.addresses("::ffff:10.1.2.3") == ["::ffff:a01:203"]
    with pytest.raises(CallRefusedError):
        await allowing.addresses("10.1.3.1")


async def test_a_name_that_does_not_exist_is_not_a_refusal():
    with pytest.raises(OSError, match="does not exist"):
        await guard().addresses("nowhere.example.com")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "https://",
        "https://user:pw@example.com/",
        "https://example.com:25/",
        "https://example.com:99999/",
        "https://example.com/\r\nX: y",
        "https://exam ple.com/",
        "https://ex\u00e4mple.com/",
        "https://example.com/" + "a" * 3000,
        "https://[::1/",
        "",
    ],
)
def test_urls_of_another_form_are_refused(url: str):
    with pytest.raises(CallRefusedError):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?x=1", "http://example.com:8080/", "https://[2606::1]:443/"]
)
def test_plain_web_urls_are_accepted(url: str):
    check_url(url)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_the_address_itself(address: ipaddress.IPv4Address):
    for text in (f"::ffff:{address}", f"64:ff9b::{address}"):
        wrapped = ipaddress.ip_address(text)
        assert carried(wrapped) == address
        assert is_public(wrapped) == is_public(address)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(url: str):
    try:
        check_url(url)
    except CallRefusedError:
        return
    assert url.startswith(("http", "HTTP", "Http")) or "://" in url
