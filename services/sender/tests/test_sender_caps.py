"""What caps and providers are read from."""

import json

import pytest

from postroad_sender.limits.caps import CapError, DeliveryLimits, StaticCaps
from postroad_sender.routes.providers import ProviderError, Providers
from postroad_sender.routes.sources import Source, Sources


def test_provider_is_the_same_whatever_the_order_of_its_hosts_and_operators_add_their_own():
    providers = Providers.parse('{"ours": ["mx.example", "Outlook.example"]}')
    hosts = ["alt1.gmail-smtp-in.l.google.com.", "gmail-smtp-in.l.GOOGLE.com"]
    assert providers.of_hosts(hosts) == providers.of_hosts(reversed(hosts)) == "google"
    assert providers.of_hosts(["x-y.mail.protection.outlook.com"]) == "microsoft"
    assert providers.of_hosts(["in1.mx.example"]) == "ours"
    assert providers.of_hosts(["notmx.example"]) == ""
    assert providers.of_hosts(["notgoogle.com"]) == ""
    assert "ours" in providers.names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "JSON object"),
        ('{"A B": ["x.test"]}', "provider 'A B'"),
        ('{"a": "x.test"}', "provider a: must have a list"),
        ('{"a": ["-"]}', "provider a: '-'"),
    ],
)
def test_wrong_provider_is_refused_with_its_name(text: str, said: str):
    with pytest.raises(ProviderError, match=said):
        Providers.parse(text)


def test_of_several_caps_the_smaller_of_each_limit_holds():
    sources = Sources([Source("a", ("127.0.0.2",), connections=9)])
    caps = StaticCaps.parse(
        json.dumps(
            [
                {"domain": "*.test", "connections": 5, "messages_per_day": 100},
                {"domain": "a.test", "connections": 3, "messages_per_second": 1.5},
                {"provider": "google", "messages_per_second": 10},
                {"source": "127.0.0.2", "connections": 12, "messages_per_day": 7},
            ]
        ),
        sources,
        Providers(),
    )
    assert caps.of_domain("a.test") == DeliveryLimits(3, 1.5, 100)
    assert caps.of_domain("b.test") == DeliveryLimits(5, None, 100)
    assert caps.of_domain("c.example") == DeliveryLimits()
    assert caps.of_provider("google") == DeliveryLimits(None, 10.0, None)
    assert caps.of_provider("") == DeliveryLimits()
    assert caps.of_sources() == {"a": DeliveryLimits(9, None, 7)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"connections":1}]', "cap 1: must have one of domain, provider and source"),
        ('[{"domain":"a","source":"b","connections":1}]', "cap 1: must have one of"),
        ('[{"domain":"a"}]', "cap 1: must have a limit"),
        ('[{"domain":"a","connections":0}]', "cap 1: connections"),
        ('[{"domain":"a","rate":1}]', "cap 1: rate"),
        ('[{"provider":"nobody","connections":1}]', "cap 1: provider: nobody is not known"),
        ('[{"source":"nobody","connections":1}]', "cap 1: source: there is none"),
    ],
)
def test_wrong_cap_is_refused_with_the_number_of_the_entry_and_the_field(text: str, said: str):
    with pytest.raises(CapError) as error:
        StaticCaps.parse(text, Sources(), Providers())
    assert said in str(error.value)
