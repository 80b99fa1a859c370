"""What the ends of some tasks mean for the one that needs them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.dependencies import MEETS, requirements, settle, standing
from domain.messages import field_path
from domain.specs import AtLeast, DependsOn, TaskSpec, When
from domain.task import Free, Skip

ENDS = ("succeeded", "failed", "cancelled", "skipped")
NAMES = st.sampled_from([f"t{n}" for n in range(5)])
WHEN = st.sampled_from(list(MEETS))


def fate(needs: list[DependsOn | AtLeast], ends: dict[str, str]) -> Free | Skip | None:
    return settle([standing(one, ends) for one in requirements(needs)])


@pytest.mark.parametrize(
    ("when", "frees"),
    [
        ("succeeded", ["succeeded"]),
        ("failed", ["failed"]),
        ("finished", ["succeeded", "failed"]),
        ("always", ["succeeded", "failed", "cancelled", "skipped"]),
    ],
)
def test_each_condition_is_met_by_its_ends_alone(when: When, frees: list[str]) -> None:
    need = DependsOn(task_id="a", when=when)

    assert [end for end in ENDS if fate([need], {"a": end}) == Free()] == frees
    assert {fate([need], {"a": end}) for end in ENDS if end not in frees} <= {Skip("a")}
    assert fate([need], {}) is None


def test_one_end_that_cannot_be_made_good_skips_though_others_are_open() -> None:
    needs: list[DependsOn | AtLeast] = [DependsOn(task_id="b"), DependsOn(task_id="a")]

    assert fate(needs, {"b": "failed"}) == Skip("b")
    assert fate(needs, {"b": "failed", "a": "cancelled"}) == Skip("a")


def test_a_set_is_met_by_as_many_as_it_asks_for_and_lost_when_too_few_are_left() -> None:
    two = AtLeast(at_least=2, of=tuple(DependsOn(task_id=name) for name in "abc"))

    assert fate([two], {"a": "succeeded", "c": "succeeded"}) == Free()
    assert fate([two], {"a": "succeeded", "b": "failed"}) is None
    assert fate([two], {"c": "skipped", "b": "failed"}) == Skip("b")


def test_a_set_does_not_stand_in_for_a_task_that_is_named_alone() -> None:
    needs: list[DependsOn | AtLeast] = [
        DependsOn(task_id="a"),
        AtLeast(at_least=1, of=(DependsOn(task_id="b"), DependsOn(task_id="c"))),
    ]

    assert fate(needs, {"b": "succeeded"}) is None
    assert fate(needs, {"b": "succeeded", "a": "succeeded"}) == Free()


ALONE = st.builds(DependsOn, task_id=NAMES, when=WHEN)
SETS = st.lists(ALONE, min_size=1, unique_by=lambda need: need.task_id).flatmap(
    lambda of: st.builds(AtLeast, at_least=st.integers(1, len(of)), of=st.just(tuple(of)))
)
NEEDS = st.lists(
    st.one_of(ALONE, SETS),
    min_size=1,
    unique_by=lambda need: str(need.task_id if isinstance(need, DependsOn) else need),
)
ORDERS = st.permutations([f"t{n}" for n in range(5)])


@given(needs=NEEDS, order=ORDERS, ends=st.lists(st.sampled_from(ENDS), min_size=5))
def test_a_fate_once_known_never_changes_and_is_known_when_all_have_ended(
    needs: list[DependsOn | AtLeast], order: list[str], ends: list[str]
) -> None:
    over: dict[str, str] = {}
    kinds: list[type] = []
    for name, end in zip(order, ends, strict=False):
        over[name] = end
        if (known := fate(needs, over)) is not None:
            kinds.append(type(known))

    assert len(set(kinds)) == 1
    assert fate(needs, over) is not None


@pytest.mark.parametrize(
    ("needs", "field", "problem"),
    [
        (
            [{"at_least": 3, "of": [{"task_id": "a"}, {"task_id": "b"}]}],
            "depends_on[0]",
            "no more than the tasks of the set",
        ),
        (
            [{"at_least": 2, "of": [{"task_id": "a"}, {"task_id": "a"}]}],
            "depends_on[0]",
            "no more than the tasks of the set",
        ),
        ([{"at_least": 0, "of": [{"task_id": "a"}]}], "depends_on[0].at_least", "greater than or equal to 1"),
        ([{"task_id": "a"}, {"task_id": "a", "when": "failed"}], "depends_on", "a is named with two conditions"),
        (
            [{"at_least": 1, "of": [{"task_id": "a"}, {"task_id": "a", "when": "failed"}]}],
            "depends_on[0].of",
            "a is named with two conditions",
        ),
        ([{"task_id": "a", "when": "soon"}], "depends_on[0].when", "'succeeded', 'failed', 'finished' or 'always'"),
        (
            [{"at_least": 1, "of": [{"task_id": f"t{n}"} for n in range(5001)]}] * 2,
            "depends_on",
            "more than 10000 tasks",
        ),
    ],
)
def test_needs_that_are_malformed_or_contradict_themselves_are_refused_with_their_place(
    needs: list[object], field: str, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as refused:
        TaskSpec.model_validate({"executor": "noop", "depends_on": needs})

    assert field_path(refused.value.errors()[0]["loc"]) == field


def test_the_same_task_twice_is_needed_once() -> None:
    needs = [DependsOn(task_id="a"), DependsOn(task_id="a")]

    assert [(one.at_least, dict(one.of)) for one in requirements(needs)] == [(1, {"a": "succeeded"})]
