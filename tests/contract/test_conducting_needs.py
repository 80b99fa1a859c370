"""What frees a task and what skips it, as its upstreams end: conditions and sets, in memory and on PostgreSQL."""

import random

import pytest

from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain.dependencies import MEETS, requirements, settle, standing
from domain.specs import AtLeast, DependsOn, TaskSpec, When
from domain.task import Cancel, Free
from domain.task_states import Blocked, Ended, Leased
from tests.support.conducting import spec, stream
from tests.support.conducting_place import Place, place

__all__ = ["place"]


def need(name: str, when: When = "succeeded") -> DependsOn:
    return DependsOn(task_id=name, when=when)


@pytest.mark.parametrize("when", list(MEETS))
async def test_a_condition_is_met_by_its_ends_alone(place: Place, when: When) -> None:
    await place.world.register("w1", slots=8)
    await place.world.submit(spec("good"), spec("bad"), spec("gone"))
    for name in ("good", "bad", "gone"):
        await place.world.submit(spec(f"after-{name}", need(name, when)))
    await place.world.submit(spec("left-out", "bad"), spec("after-left-out", need("left-out", when)))
    await place.settle()
    await place.world.finish("good")
    await place.world.finish("bad", exit_code=1)
    await place.world.decide("gone", Cancel("alice"))
    await place.world.finish("gone", exit_code=1)
    await place.settle()

    ends = {"good": "succeeded", "bad": "failed", "gone": "cancelled", "left-out": "skipped"}
    for name, end in ends.items():
        state = await place.world.task(f"after-{name}")
        assert isinstance(state, Leased if end in MEETS[when] else Ended), (name, state)


async def test_a_task_runs_once_enough_of_a_set_have_ended_as_wanted(place: Place) -> None:
    await place.world.register("w1", slots=8)
    any_two = AtLeast(at_least=2, of=(need("a"), need("b"), need("c")))
    await place.world.submit(spec("a"), spec("b"), spec("c"), spec("enough", any_two))
    await place.settle()
    await place.world.finish("c")
    await place.settle()
    assert isinstance(await place.world.task("enough"), Blocked)

    await place.world.finish("a")
    await place.settle()

    assert isinstance(await place.world.task("enough"), Leased)
    freed = (await place.world.load([stream("enough")]))[stream("enough")][2]
    end = (await place.world.load([stream("a")]))[stream("a")][-1]
    assert freed.cause.causation_id == str(end.event_id)


async def test_a_task_is_skipped_once_too_few_of_a_set_are_left(place: Place) -> None:
    await place.world.register("w1", slots=8)
    any_two = AtLeast(at_least=2, of=(need("a"), need("b"), need("c")))
    await place.world.submit(spec("a"), spec("b"), spec("c"), spec("too-few", any_two))
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.settle()
    assert isinstance(await place.world.task("too-few"), Blocked)

    await place.world.finish("c", exit_code=1)
    await place.settle()

    (skipped,) = (await place.world.load([stream("too-few")]))[stream("too-few")][2:]
    assert skipped.event() == e.TaskSkipped(task_id="too-few", because="a")


@pytest.mark.parametrize(("bad", "good"), [("a", "b"), ("b", "a")])
async def test_of_ends_noted_together_that_one_is_the_cause_which_settles_it(place: Place, bad: str, good: str) -> None:
    await place.world.register("w1", slots=8)
    await place.world.submit(spec("a"), spec("b"), spec("both", "a", "b"))
    await place.world.submit(spec("any", AtLeast(at_least=1, of=(need("a"), need("b")))))
    await place.settle()
    await place.world.finish(bad, exit_code=1)
    await place.world.finish(good)
    await place.settle()

    assert await settled_by(place, "both", "a", "b") == bad
    assert await settled_by(place, "any", "a", "b") == good


@pytest.mark.parametrize("alone", ["x", "y"])
async def test_a_task_is_skipped_for_its_first_need_that_is_lost(place: Place, alone: str) -> None:
    await place.world.register("w1", slots=8)
    one_of = AtLeast(at_least=1, of=(need("x"), need("y"), need("z")))
    await place.world.submit(*map(spec, "wxyz"), spec("d", one_of, "w", AtLeast(at_least=1, of=(need(alone),))))
    await place.settle()
    await place.world.finish("z", exit_code=1)
    await place.settle()
    for name in ("x", "y", "w"):
        await place.world.finish(name, exit_code=1)
    await place.settle()

    (skipped,) = (await place.world.load([stream("d")]))[stream("d")][2:]
    assert skipped.event() == e.TaskSkipped(task_id="d", because="w")
    assert await settled_by(place, "d", "w", "x", "y", "z") == "w"


async def settled_by(place: Place, name: str, *upstream: str) -> str | None:
    """Which of the tasks `upstream` ended with the event that freed or skipped the task."""
    cause = (await place.world.load([stream(name)]))[stream(name)][2].cause.causation_id
    ends = {one: (await place.world.load([stream(one)]))[stream(one)][-1] for one in upstream}
    return next((one for one, end in ends.items() if str(end.event_id) == cause), None)


async def test_what_has_settled_and_is_not_dealt_with_yet_is_settled_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.conductor.AGENDA_LIMIT", 2)
    one_of = AtLeast(at_least=1, of=(need("a"), need("b")))
    await place.world.register("w1", slots=20)
    await place.world.submit(spec("a"), spec("b"), *(spec(f"d{n}", one_of) for n in range(9)))
    await place.settle()
    await place.world.finish("a")
    assert await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
    await place.world.finish("b", exit_code=1)
    await place.settle()

    assert {await settled_by(place, f"d{n}", "a", "b") for n in range(9)} == {"a"}
    assert await place.world.left_over() == 9  # their leases


async def test_a_set_and_a_task_alone_must_both_be_met_in_either_order(place: Place) -> None:
    await place.world.register("w1", slots=8)
    one_of = AtLeast(at_least=1, of=(need("a"), need("b", "failed")))
    await place.world.submit(spec("a"), spec("b"), spec("c"), spec("set-first", one_of, "c"))
    await place.world.submit(spec("d"), spec("alone-first", one_of, "d"))
    await place.settle()
    await place.world.finish("d")
    await place.settle()
    await place.world.finish("b", exit_code=1)
    await place.settle()
    assert isinstance(await place.world.task("alone-first"), Leased)
    assert isinstance(await place.world.task("set-first"), Blocked)

    await place.world.finish("c")
    await place.settle()

    assert isinstance(await place.world.task("set-first"), Leased)


async def test_ends_of_long_ago_meet_conditions_and_sets_too(place: Place) -> None:
    await place.world.register("w1", slots=8)
    await place.world.submit(spec("a"), spec("b"), spec("c"))
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.world.finish("b")
    await place.settle()

    of_three = (need("a", "failed"), need("b", "always"), need("c"))
    await place.world.submit(spec("met", AtLeast(at_least=2, of=of_three), need("a", "finished")))
    await place.settle()

    assert isinstance(await place.world.task("met"), Leased)


@pytest.mark.parametrize("seed", range(4))
async def test_random_graphs_end_as_their_conditions_say(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    graph: dict[str, TaskSpec] = {}
    for number in range(30):
        graph[f"t{number:02}"] = spec(f"t{number:02}", *_needs(chance, list(graph)))
    fails = {name for name in graph if chance.random() < 0.4}
    expected = _expected(graph, fails)
    await place.world.register("w1", slots=100)
    await place.world.submit_workflow(*graph.values())
    await place.settle()
    while running := [name for name in graph if isinstance(await place.world.task(name), Leased)]:
        for name in chance.sample(running, chance.randint(1, len(running))):
            await place.world.finish(name, exit_code=1 if name in fails else 0)
        await place.settle()

    ended = {name: state.status for name in graph if isinstance(state := await place.world.task(name), Ended)}
    assert ended == expected
    assert await place.world.left_over() == 0
    for name in (name for name, end in ended.items() if end == "skipped"):
        await _check_reason(place, graph[name], ended)


async def _check_reason(place: Place, task: TaskSpec, ended: dict[str, str]) -> None:
    """The task that is named, and the end that is the cause, are of one need, and neither meets it."""
    name = task.task_id or ""
    skipped = (await place.world.load([stream(name)]))[stream(name)][-1].event()
    assert isinstance(skipped, e.TaskSkipped)
    unmet = [
        {one for one, when in each.of.items() if ended[one] not in MEETS[when]}
        for each in requirements(task.depends_on)
    ]
    cause = await settled_by(place, name, *(one for names in unmet for one in names))
    assert any({skipped.because, cause} <= names for names in unmet), (name, skipped.because, cause)


def _needs(chance: random.Random, earlier: list[str]) -> list[DependsOn | AtLeast]:
    alone = chance.sample(earlier, min(len(earlier), chance.randint(0, 2)))
    needs: list[DependsOn | AtLeast] = [need(name, chance.choice(list(MEETS))) for name in alone]
    if len(earlier) > 2 and chance.random() < 0.5:
        of = tuple(need(name, chance.choice(list(MEETS))) for name in chance.sample(earlier, 3))
        needs.append(AtLeast(at_least=chance.randint(1, 3), of=of))
    return needs


def _expected(graph: dict[str, TaskSpec], fails: set[str]) -> dict[str, str]:
    """How each task ends, in the order in which they were made: all that one needs comes before it."""
    ends: dict[str, str] = {}
    for name, task in graph.items():
        freed = settle([standing(one, ends) for one in requirements(task.depends_on)]) == Free()
        ends[name] = ("failed" if name in fails else "succeeded") if freed else "skipped"
    return ends
