"""The cache: bounds, expiry, weights, and a model that it agrees with."""

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.caching import Cache


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_least_recently_used_entry_is_pushed_out_and_told():
    gone: list[tuple[str, int]] = []
    cache: Cache[str, int] = Cache(2, forgotten=lambda key, value: gone.append((key, value)))
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert gone == [("b", 2)]
    assert list(cache.items()) == [("a", 1), ("c", 3)]


def test_peek_does_not_use_an_entry():
    cache: Cache[str, int] = Cache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.peek("a") == 1
    cache.put("c", 3)
    assert "a" not in cache
    assert cache.peek("a", 7) == 7


def test_an_entry_is_over_at_its_time_and_one_put_anew_has_a_new_time():
    clock = Clock()
    cache: Cache[str, int] = Cache(10, seconds=5.0, clock=clock)
    cache.put("a", 1)
    cache.put("b", 2, seconds=9.0)
    cache.put("c", 3, seconds=float("inf"))
    clock.now += 4.9
    assert cache.get("a") == 1
    cache.put("a", 4)
    clock.now += 4.9
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (4, None, 3)
    clock.now += 0.1
    assert "a" not in cache
    assert cache.get("a", 0) == 0
    assert len(cache) == 1


def test_values_are_bounded_by_weight_and_a_heavy_one_is_not_kept():
    cache: Cache[str, bytes] = Cache(10, weigh=len, heaviest=6)
    cache.put("a", b"12345")
    cache.put("b", b"12345")
    cache.put("heavy", b"1234567")
    assert list(cache) == ["a", "b"]
    cache.put("c", b"1")
    assert list(cache) == ["b", "c"]
    cache.put("b", b"12")
    assert cache.weight == 3
    assert cache.pop("b") == b"12"
    assert cache.pop("b") is None
    assert cache.weight == 1
    cache.clear()
    assert (len(cache), cache.weight) == (0, 0)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("gpdf"), st.integers(0, 6), st.integers(0, 3))),
)
def test_it_does_what_a_plain_list_in_order_of_use_would_do(
    size: int, steps: list[tuple[str, int, int]]
):
    cache: Cache[int, int] = Cache(size)
    model: list[tuple[int, int]] = []
    for action, key, value in steps:
        found = next((item for item in model if item[0] == key), None)
        if action == "g":
            assert cache.get(key) == (None if found is None else found[1])
            if found is not None:
                model.remove(found)
                model.append(found)
        elif action == "p":
            cache.put(key, value)
            if found is not None:
                model.remove(found)
            model.append((key, value))
            model = model[-size:]
        elif action == "d":
            assert cache.pop(key) == (None if found is None else found[1])
            if found is not None:
                model.remove(found)
        else:
            assert (key in cache) == (found is not None)
        assert list(cache.items()) == model
