"""What sources and their warm-ups are read from."""

import json
from datetime import date

import pytest

from postroad_sender.routes.routes import Routes
from postroad_sender.routes.sources import SYSTEM, SourceError, Sources
from postroad_sender.routes.warmup import SCHEDULES, WarmUp, day_of


def test_route_finds_its_source_by_name_address_and_pool():
    sources = Sources.parse(
        json.dumps(
            [
                {"name": "a", "address": "127.0.0.2", "ehlo": "A.example"},
                {"name": "b", "address": ["127.0.0.3", "::1"], "pools": ["bulk", "default"]},
            ]
        )
    )

    def named(**route: str) -> list[str]:
        parsed = Routes.parse(json.dumps([{"domain": "*", **route}]))
        return [source.name for source in sources.of_route(parsed.find("d.test"))]

    assert named() == ["a", "b"]
    assert named(pool="bulk") == ["b"]
    assert named(source="a") == named(source="127.0.0.2") == ["a"]
    assert named(source="::1") == ["b"]
    assert named(source="127.0.0.9") == ["127.0.0.9"]
    (a,) = sources.of_route(Routes.parse('[{"domain":"*","source":"a"}]').find("x"))
    assert a.ehlo == "a.example"
    assert a.reaches("192.0.2.1")
    assert not a.reaches("2001:db8::1")
    assert Sources().of_route(Routes().find("d.test")) == (SYSTEM,)
    assert SYSTEM.reaches("2001:db8::1")
    assert SYSTEM.address_for("192.0.2.1") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("{}", "must be a JSON list of sources"),
        ('[{"name":"a"}]', "source 1: address: is required"),
        ('[{"name":"a","address":"localhost"}]', "source 1: address: 'localhost' does not appear"),
        ('[{"name":"a","address":["127.0.0.1","127.0.0.2"]}]', "one of IPv4 and one of IPv6"),
        ('[{"name":"1","address":"127.0.0.1"}]', "source 1: name"),
        ('[{"name":"a","address":"127.0.0.1","ehlo":"-"}]', "source 1: ehlo"),
        ('[{"name":"a","address":"127.0.0.1","weight":0}]', "source 1: weight"),
        ('[{"name":"a","address":"127.0.0.1","pools":[]}]', "source 1: pools"),
        (
            '[{"name":"a","address":"127.0.0.1"},{"name":"b","address":"127.0.0.1"}]',
            "source 2: address: 127.0.0.1 is there twice",
        ),
        (
            '[{"name":"a","address":"127.0.0.1","warmup":{"start":"2026-01-01","per_day":"x"}}]',
            'source 1: warmup.per_day: must be a list of messages per day, or one of "14 days"',
        ),
        (
            '[{"name":"a","address":"127.0.0.1","warmup":{"start":"soon","per_day":[1]}}]',
            "source 1: warmup.start",
        ),
    ],
)
def test_wrong_source_is_refused_with_the_number_of_the_entry_and_the_field(text: str, said: str):
    with pytest.raises(SourceError) as error:
        Sources.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"source": "nobody"}, "route 1: source: there is none with the name nobody"),
        ({"pool": "bulk"}, "route 1: pool: no source is in bulk"),
    ],
)
def test_route_to_a_source_that_is_not_there_is_refused(route: dict[str, str], said: str):
    with pytest.raises(SourceError, match=said):
        Sources().check(Routes.parse(json.dumps([{"domain": "*", **route}])))


def test_warm_up_counts_days_in_utc_from_its_start_and_ends_behind_its_list():
    warmup = WarmUp(start=date(2026, 3, 1), per_day=(10, 20), per_provider={"google": (5,)})
    first = day_of(date(2026, 3, 1))
    assert [warmup.most_on(first + number) for number in (-1, 0, 1, 2)] == [0, 10, 20, None]
    assert [warmup.most_on(first + n, provider="google") for n in (0, 1)] == [5, None]


def test_schedules_with_names_only_grow_and_have_as_many_days_as_they_say():
    for name, schedule in SCHEDULES.items():
        assert len(schedule) == int(name.split()[0])
        assert list(schedule) == sorted(schedule)
        assert schedule[0] == 50
