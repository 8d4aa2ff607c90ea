import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.web.guard import CallRefusedError, UrlGuard, check_url

PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.0.0.8", "::1", "::ffff:0:10.0.0.1"]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "2a00:1450::1"]


def guard(*addresses: str, allowed: Sequence[str] = ()) -> UrlGuard:
    async def resolve(host: str) -> Sequence[str]:
        if not addresses:
            raise OSError(f"{host} does not exist")
        return addresses

    return UrlGuard([ipaddress.ip_network(text) for text in allowed], resolve)


@pytest.mark.parametrize("address", PRIVATE)
async def test_addresses_that_are_not_public_are_refused(address: str):
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


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(url: str):
    try:
        check_url(url)
    except CallRefusedError:
        return
    assert url.startswith(("http", "HTTP", "Http")) or "://" in url
