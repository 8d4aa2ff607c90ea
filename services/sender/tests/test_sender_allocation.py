"""How a number is divided among those who want parts of it."""

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.store.leases import Division
from postroad_sender.limits.allocation import divide, targets


@given(
    st.integers(0, 50),
    st.dictionaries(st.text("ab", min_size=1, max_size=3), st.integers(0, 60)),
    st.integers(0, 100),
)
def test_targets_fit_and_nobody_has_less_than_another_who_has_less_than_it_wants(
    most: int, wishes: dict[str, int], turn: int
):
    found = targets(most, wishes, turn)
    assert sum(found.values()) == min(most, sum(wishes.values()))
    for holder, many in found.items():
        assert many <= wishes[holder]
        if many < wishes[holder]:
            assert max(found.values()) <= many + 1


def test_those_who_cannot_have_a_part_at_once_take_turns():
    had = {
        holder
        for turn in range(4)
        for holder, many in targets(1, dict.fromkeys("abcd", 1), turn).items()
        if many
    }
    assert had == set("abcd")


@given(
    most=st.integers(1, 12),
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 9), st.booleans()),
        max_size=60,
    ),
)
def test_parts_never_exceed_the_number_whoever_wants_what_and_whatever_is_in_use(
    most: int, steps: list[tuple[str, int, int, bool]]
):
    division = Division()
    used = dict.fromkeys("abc", 0)
    for turn, (holder, wish, more, written) in enumerate(steps):
        mine = {holder: (max(wish, used[holder]), used[holder])}
        new, allowed = divide(division, mine, most=most, now=float(turn), turn=turn)
        usable = allowed[holder]
        used[holder] = max(used[holder], min(used[holder] + more, usable))  # meanwhile
        if written:
            if new.held.get(holder, 0) > division.held.get(holder, 0):
                usable = new.held[holder]
            division = new
            used[holder] = max(used[holder], min(used[holder] + more, usable))
        assert sum(division.held.values()) <= most
        assert all(used[one] <= division.held.get(one, 0) for one in used)
        if more % 2:
            used[holder] = min(used[holder], usable)  # what is too many has closed
