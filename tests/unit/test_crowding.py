"""Who goes when a task finds all places of its key taken."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.crowding import Member, crowded_out
from domain.lanes import Lane, Share
from domain.limit import Quota
from domain.task import Cancel

OLDEST = Lane("default", "default", "noop", shares=(Share("key:default/k", 2, "cancel-oldest"),))
NEWEST = replace(OLDEST, shares=(Share("key:default/k", 2, "cancel-newest"),))
SET_TO_ONE = {"key:default/k": Quota(1)}


def member(n: int, lane: Lane = OLDEST, held: bool = False) -> Member:
    """The n-th task to be submitted."""
    return Member(UUID(int=n), lane, held)


def out(*members: Member, quotas: dict[str, Quota] | None = None) -> list[int]:
    return [task.int for task in crowded_out(members, quotas or {})]


def test_nobody_goes_while_there_are_places() -> None:
    assert out(member(1, held=True), member(2)) == []
    assert out(member(1, NEWEST, held=True), member(2, NEWEST)) == []


def test_the_oldest_go_for_those_that_come_after_whether_they_wait_or_run() -> None:
    assert out(member(1, held=True), member(2), member(3)) == [1]
    assert out(member(4), member(3), member(2), member(1)) == [1, 2]


def test_the_newest_go_but_not_once_they_run() -> None:
    assert out(member(1, NEWEST), member(2, NEWEST, held=True), member(3, NEWEST)) == [3]
    assert out(*(member(n, NEWEST, held=True) for n in (1, 2, 3))) == []


@pytest.mark.parametrize(("lane", "goes"), [(OLDEST, [1]), (NEWEST, [2])])
def test_a_limit_that_was_set_counts_and_not_what_the_tasks_say(lane: Lane, goes: list[int]) -> None:
    assert out(member(1, lane, held=True), member(2, lane), quotas=SET_TO_ONE) == goes
    assert out(*(member(n, lane) for n in (1, 2, 3)), quotas={"key:default/k": Quota(3)}) == []


@pytest.mark.parametrize("lane", [OLDEST, NEWEST])
def test_where_nothing_may_run_at_all_everybody_waits(lane: Lane) -> None:
    assert out(member(1, lane), member(2, lane), quotas={"key:default/k": Quota(0)}) == []


def test_it_is_said_why_a_task_goes() -> None:
    (cancel,) = crowded_out([member(n) for n in (1, 2, 3)], {}).values()

    assert cancel == Cancel("dispatcher", "key:default/k is limited to 2: a newer task takes the place")


def test_each_key_has_its_own_places() -> None:
    other = replace(OLDEST, shares=(Share("key:default/other", 1, "cancel-oldest"),))

    assert out(member(1), member(2, other), member(3), member(4, other)) == [2]


MEMBERS = st.lists(
    st.builds(
        member,
        st.integers(1, 50),
        st.sampled_from([OLDEST, NEWEST]),
        st.booleans(),
    ),
    unique_by=lambda one: one.task,
)


@given(MEMBERS)
def test_when_all_that_go_are_gone_nobody_else_goes(members: list[Member]) -> None:
    gone = crowded_out(members, {})

    left = [one for one in members if one.task not in gone]

    assert crowded_out(left, {}) == {}
    assert len([one for one in left if not one.held]) <= 2


@given(MEMBERS)
def test_while_those_that_go_are_still_held_nobody_else_goes(members: list[Member]) -> None:
    gone = crowded_out(members, {})

    left = [one for one in members if one.task not in gone or one.held]

    assert set(crowded_out(left, {})) <= set(gone)
