"""A task with `for_each` becomes children, and ends when they have; in memory and on PostgreSQL."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest

from consumers import deciding, spreading
from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain.filling import Work
from domain.ids import child_stream
from domain.messages import Json
from domain.ports.conducting import CANCELS_IN_TURN, Notes
from domain.specs import AtLeast, DependsOn, Job, TaskSpec
from domain.task import Cancel, Pause, Resume, Wake
from domain.task_states import Delayed, Ended, Held, Leased, Paused, Queued, Spread
from tests.support.conducting import WORKFLOW, PgWorld, conductor, fan_out, spec, stream
from tests.support.conducting_place import Place, place
from tests.support.ended_tasks import NOW
from tests.support.faults import Fuse, FusedSeat, Killed

__all__ = ["place"]
TOO_MANY = (
    "for_each.items: {{tasks.a.result.items}} has 10001 items, and there may be 10000 children; "
    "let each item stand for several"
)


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many children a round submits does not depend on the machine here."""
    monkeypatch.setattr(deciding, "MOST_SECONDS", 3600)


async def finish_all(place: Place, name: str, count: int, failing: tuple[int, ...] = ()) -> None:
    """Run all its children, as they are given out, to their ends."""
    over = set[int]()
    while len(over) < count:
        before = len(over)
        for index in set(range(count)) - over:
            child = f"{name}[{index}]"
            if (await place.world.load([stream(child)])) and isinstance(await place.world.task(child), Held):
                await place.world.finish(child, exit_code=int(index in failing))
                over.add(index)
        await place.settle()
        assert len(over) > before, "something runs"


def result(**ends: int) -> dict[str, int]:
    none = dict.fromkeys(("cancelled", "expired", "failed", "quarantined", "succeeded"), 0)
    return {"children": sum(ends.values()), **none, **ends}


async def test_each_item_of_what_a_task_left_becomes_a_task_and_their_ends_its_end(place: Place) -> None:
    await place.world.register("w1")
    after = spec("after", "each", input={"n": "{{tasks.each.result.succeeded}}"})
    await place.world.submit(spec("a"), fan_out("each", "a"), after)
    await place.settle()
    await place.world.finish("a", result={"items": ["x", {"y": None}]})
    await place.settle()

    assert await place.world.events("each[1]") == [
        e.TaskSubmitted(
            task_id="each[1]",
            spec=TaskSpec(executor="noop", input={"item": "{{item}}", "index": "{{index}}"}),
            filled=Work(input={"item": {"y": None}, "index": 1}),
            child_of=e.ChildOf(task_id="each", stream=stream("each"), index=1, item={"y": None}),
        ),
        e.TaskQueued(task_id="each[1]", pool="default", executor="noop", priority=5),
        *(await place.world.events("each[1]"))[2:],
    ]
    await finish_all(place, "each", 2)

    assert (await place.world.events("each"))[2:] == [
        e.TaskSpread(task_id="each", children=2),
        e.TaskSucceeded(task_id="each", runs=0, result=result(succeeded=2)),
    ]
    assert (await place.world.events("after"))[2] == e.TaskFilled(task_id="after", input={"n": 2})


async def test_the_children_of_a_number_have_it_as_their_items(place: Place) -> None:
    await place.world.submit(fan_out("each", items={"count": 3}))
    await place.settle()

    inputs = [(await place.world.task(f"each[{n}]")).facts.submitted.work.input for n in range(3)]
    assert inputs == [{"item": n, "index": n} for n in range(3)]
    assert await place.world.types("each") == ["submitted", "spread"]


async def test_without_items_it_has_succeeded(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), fan_out("each", "a"), fan_out("none", items=[]))
    await place.settle()
    await place.world.finish("a", result={"items": []})
    await place.settle()

    end = e.TaskSucceeded(task_id="each", runs=0, result=result())
    assert (await place.world.events("each"))[2:] == [end]
    assert (await place.world.events("none"))[1:] == [end.model_copy(update={"task_id": "none"})]
    assert await place.world.left_over() == 0


@pytest.mark.parametrize(
    ("left", "reason", "detail"),
    [
        ({"items": {"a": 1}}, "bad-items", "for_each.items: {{tasks.a.result.items}} is no list"),
        ({}, "template-missing-field", 'for_each.items: {{tasks.a.result.items}}: result is an object without "items"'),
        (
            {"items": [0] * 10_001},
            "too-many-items",
            TOO_MANY,
        ),
    ],
)
async def test_items_that_are_none_fail_it(place: Place, left: Json, reason: str, detail: str) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), fan_out("each", "a"))
    await place.settle()
    await place.world.finish("a", result=left)
    await place.settle()

    end = e.TaskFailed(task_id="each", reason=reason, runs=0, detail=detail)
    assert (await place.world.events("each"))[2:] == [end]


async def test_what_the_template_reads_of_a_task_must_be_there_before_anything_is_submitted(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), fan_out("each", "a", items=[1], to="{{tasks.a.result.to}}"))
    await place.settle()
    await place.world.finish("a", result={"from": "x"})
    await place.settle()

    end = (await place.world.events("each"))[-1]
    assert isinstance(end, e.TaskFailed)
    assert end.detail == 'input.to: {{tasks.a.result.to}}: result is an object without "to"'


async def test_what_the_template_reads_of_a_task_that_has_not_ended_yet_is_there_for_no_child(place: Place) -> None:
    await place.world.register("w1")
    either = AtLeast(at_least=1, of=(DependsOn(task_id="a"), DependsOn(task_id="b")))
    each = fan_out("each", either, items={"count": spreading.CHILDREN + 1}, to="{{tasks.b.result.to}}")
    await place.world.submit(spec("a"), spec("b"), each)
    await place.settle()
    await place.world.finish("a")
    await place.settle()

    end = (await place.world.events("each"))[-1]
    assert isinstance(end, e.TaskFailed)
    assert end.detail == "input.to: {{tasks.b.result.to}}: task b has not ended"
    assert not await place.world.load([stream("each[0]")])


async def test_the_children_of_a_round_have_so_many_bytes_together_and_come_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "MOST_BYTES", 5_000)
    names = [f"each{n}" for n in range(3)]
    await place.world.submit(*(fan_out(name, items=["x" * 1_000] * 4) for name in names))

    rounds: list[list[int]] = [[]]
    for _ in range(9):
        await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
        there = await place.world.load([child_stream(stream(name), index) for name in names for index in range(4)])
        rounds.append([len(events[0].body) for events in there.values()])

    assert len(rounds[-1]) == 4 * len(names)
    assert max(sum(after) - sum(before) for before, after in pairwise(rounds)) < 5_000 + max(rounds[-1])


async def children_of(place: Place, names: Sequence[str], count: int) -> list[int]:
    """How many each of these has."""
    there = await place.world.load([child_stream(stream(name), index) for name in names for index in range(count)])
    return [sum(child_stream(stream(name), index) in there for index in range(count)) for name in names]


async def test_tasks_that_become_children_share_a_round(place: Place) -> None:
    names, count = ["large", "larger"], spreading.CHILDREN
    await place.world.submit(*(fan_out(name, items={"count": count}) for name in names))

    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))

    large, larger = await children_of(place, names, count)
    assert min(large, larger) > count // 3


async def test_where_it_takes_long_to_make_children_each_task_gets_one_a_round(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "MOST_SECONDS", 0)
    names = ["a", "b", "c"]
    await place.world.submit(*(fan_out(name, items={"count": 3}) for name in names))

    seen: list[list[int]] = []
    for _ in range(3):
        await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
        seen.append(await children_of(place, names, 3))

    assert seen == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


async def test_a_round_takes_note_of_no_more_children_than_one_task_may_have(place: Place) -> None:
    names = ("one", "two", "three")
    await place.world.submit(*(fan_out(name, items={"count": 6_000}) for name in names), spec("after"))
    first = await place.conducting.seat.page(PAGE, TYPES)

    assert await place.conducting.step(first)

    rest = await place.conducting.seat.page(PAGE, TYPES)
    left = [event.stream for event in rest.events if event.type in (e.TaskSpread.TYPE, e.TaskQueued.TYPE)]
    assert left[: len(names)] == [*map(stream, names[1:]), stream("after")]


async def test_an_item_that_does_not_fit_fails_its_child_and_no_other(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), fan_out("each", "a", of="{{item.of}} of {{tasks.a.status}}"))
    await place.settle()
    await place.world.finish("a", result={"items": [{"of": 1}, {}]})
    await place.settle()
    await place.world.finish("each[0]")
    await place.settle()

    assert (await place.world.task("each[0]")).facts.submitted.work.input == {
        "item": {"of": 1},
        "index": 0,
        "of": "1 of succeeded",
    }
    assert (await place.world.events("each[1]"))[1:] == [
        e.TaskFailed(
            task_id="each[1]",
            reason="template-missing-field",
            runs=0,
            detail='input.of: {{item.of}}: item 1 is an object without "of"',
        )
    ]
    assert (await place.world.events("each"))[-1] == e.TaskFailed(
        task_id="each",
        reason="children-failed",
        runs=0,
        detail="1 of 2 children did not succeed: 1 failed",
        result=result(succeeded=1, failed=1),
    )
    assert await place.world.left_over() == 0


async def test_a_round_submits_so_many_and_the_next_goes_on(place: Place) -> None:
    world, count = place.world, 2 * spreading.CHILDREN + 3
    await world.submit(fan_out("big", items={"count": count}), fan_out("small", items={"count": 2}))

    sizes = list[int]()
    for _ in range(6):
        at = len(await submitted(place, "big", count))
        await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
        sizes.append(len(await submitted(place, "big", count)) - at)

    assert sizes[0] in (spreading.CHILDREN, spreading.CHILDREN - 2)
    assert sum(sizes) == count
    assert max(sizes) <= spreading.CHILDREN
    assert await world.types("small[1]") == ["submitted", "queued"]
    assert await world.types("big") == ["submitted", "spread"]


async def submitted(place: Place, name: str, count: int) -> list[str]:
    there = await place.world.load([stream(f"{name}[{n}]") for n in range(count)])
    return [f"{name}[{n}]" for n in range(count) if stream(f"{name}[{n}]") in there]


async def test_a_cancelled_one_ends_when_its_children_have_and_submits_no_more(place: Place) -> None:
    world, count = place.world, 2 * spreading.CHILDREN
    await world.register("w1", slots=1)
    await world.submit(fan_out("each", items={"count": count}))
    step = place.conducting
    for _ in range(2):
        await step.step(await step.seat.page(PAGE, TYPES))
    assert len(await submitted(place, "each", count)) in (spreading.CHILDREN, count)
    before = await submitted(place, "each", count)

    await world.decide("each", Cancel("alice", "enough"))
    await place.settle()

    states = Counter([type(await world.task(name)).__name__ for name in before])
    [held] = [name for name in before if isinstance(await world.task(name), Held)]
    assert states == {"Ended": len(before) - 1, "Cancelling": 1}
    assert await submitted(place, "each", count) == before
    assert (await world.events("each"))[1:] == [
        e.TaskSpread(task_id="each", children=count),
        e.TaskRecalled(task_id="each", by="alice", reason="enough"),
    ]
    await world.finish(held, exit_code=137)
    await place.settle()
    assert (await world.events("each"))[3:] == [e.TaskCancelled(task_id="each", by="alice", reason="enough")]
    assert await world.left_over() == 0


async def test_tasks_that_are_cancelled_together_give_their_children_in_turn(place: Place) -> None:
    world, counts = place.world, {f"each-{n}": 2 for n in range(CANCELS_IN_TURN)} | {"long": 20}
    await world.submit(*(fan_out(name, items={"count": count}) for name, count in counts.items()))
    await place.settle()
    children = {name: sorted(child_stream(stream(name), n) for n in range(count)) for name, count in counts.items()}

    async with place.conducting.seat.turn() as turn:
        await turn.note(Notes(cancelled=[stream("long"), stream("each-0")]))
        two = (await turn.survey(8, 0)).agenda.cancels
        await turn.note(Notes(cancelled=list(map(stream, counts))))
        all_at_once = (await turn.survey(100, 0)).agenda.cancels

    first, second = sorted(["long", "each-0"], key=stream)
    turns = [(children[name][place], stream(name)) for place in (0, 1) for name in (first, second)]
    assert two == [*turns, *((child, stream("long")) for child in children["long"][2:6])]
    some = sorted(map(stream, counts))[:CANCELS_IN_TURN]
    assert [of for _, of in all_at_once[: 2 * len(some)]] == some * 2
    assert {of for _, of in all_at_once} == set(some)


async def test_its_children_have_as_long_to_end_as_whoever_cancels_it_says(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(fan_out("each", items={"count": 1}))
    await place.settle()
    await place.world.start("each[0]")
    await place.world.decide("each", Cancel("alice", grace=timedelta(0)))
    await place.settle()

    cancelling = (await place.world.events("each[0]"))[-1]
    assert isinstance(cancelling, e.TaskCancelling)
    assert (cancelling.by, cancelling.grace) == ("alice", timedelta(0))


async def test_one_that_is_cancelled_before_a_child_was_submitted_ends_at_once(place: Place) -> None:
    await place.world.submit(fan_out("each", items={"count": 5}))
    await place.world.decide("each", Cancel("alice"))

    await place.settle()

    assert await place.world.types("each") == ["submitted", "spread", "recalled", "cancelled"]
    assert await submitted(place, "each", 5) == []
    assert await place.world.left_over() == 0


async def test_a_workflow_counts_it_as_one_and_its_cancellation_reaches_the_children(place: Place) -> None:
    await place.world.register("w1", slots=1)
    await place.world.submit_workflow(fan_out("each", items={"count": 3}), spec("b", "each"))
    await place.settle()
    await place.world.cancel_workflow()
    await place.settle()
    [held] = [name for name in await submitted(place, "each", 3) if isinstance(await place.world.task(name), Held)]
    await place.world.finish(held, exit_code=1)
    await place.settle()

    last = (await place.world.load([WORKFLOW]))[WORKFLOW][-1].event()
    assert last == e.WorkflowFinished(workflow_id="W", cancelled=2)
    reasons = [(await place.world.events(f"each[{n}]"))[-1] for n in range(3)]
    assert {(end.by, end.reason) for end in reasons if isinstance(end, e.TaskCancelled)} == {
        ("alice", "no longer needed")
    }
    assert await place.world.left_over() == 0


async def test_a_failed_child_fails_it_and_so_its_workflow_fast(place: Place) -> None:
    await place.world.register("w1")
    tasks = (fan_out("each", items={"count": 2}), spec("b", "each"), spec("c"))
    await place.world.submit_workflow(*tasks, on_failure="fail-fast")
    await place.settle()
    await finish_all(place, "each", 2, failing=(1,))

    assert (await place.world.types("each"))[-1] == "failed"
    assert (await place.world.types("c"))[-1] == "cancelling"


async def test_so_many_children_run_at_once_as_it_says_and_as_its_workflow_says(place: Place) -> None:
    await place.world.register("w1", slots=8)
    await place.world.submit(fan_out("one", items={"count": 4}, parallel=1))
    tasks = (fan_out("each", items={"count": 4}, parallel=3), spec("b"))
    await place.world.submit_workflow(*tasks, max_parallel=2)
    await place.settle()

    held = [isinstance(await place.world.task(f"one[{n}]"), Held) for n in range(4)]
    both = ["b", *(f"each[{n}]" for n in range(4))]
    assert sum(held) == 1
    assert sum([isinstance(await place.world.task(name), Held) for name in both]) == 2
    await finish_all(place, "one", 4)
    assert (await place.world.types("one"))[-1] == "succeeded"


async def test_it_is_spread_when_its_time_has_come_or_it_is_resumed_with_what_was_known_before(place: Place) -> None:
    late = fan_out("late", "a").model_copy(update={"not_before": NOW + timedelta(days=9000)})
    await place.world.register("w1")
    await place.world.submit(spec("a"), late, fan_out("held", "a"))
    await place.world.decide("held", Pause("bob"))
    await place.settle()
    await place.world.finish("a", result={"items": ["x"]})
    await place.settle()
    assert isinstance(await place.world.task("late"), Delayed)
    assert isinstance(await place.world.task("held"), Paused)

    await place.world.decide("late", Wake(0))
    await place.world.decide("held", Resume("bob"))
    await place.settle()

    for name in ("late", "held"):
        assert isinstance(await place.world.task(name), Spread)
        assert isinstance(await place.world.task(f"{name}[0]"), Leased)


async def test_its_priority_is_its_childrens_unless_they_have_one(place: Place) -> None:
    own = fan_out("own", items=[1]).model_copy(update={"priority": 9})
    assert own.for_each is not None
    template = Job.model_validate({"executor": "noop", "priority": 2})
    theirs = own.model_copy(
        update={"task_id": "theirs", "for_each": own.for_each.model_copy(update={"task": template})}
    )
    await place.world.submit(own, theirs)
    await place.settle()

    states = [await place.world.task(name) for name in ("own[0]", "theirs[0]")]
    assert [state.priority for state in states] == [9, 2]
    assert all(isinstance(state, Queued) for state in states)


async def test_rows_that_are_built_anew_come_out_the_same(place: Place) -> None:
    await place.world.register("w1", slots=1)
    await place.world.submit(
        fan_out("over", items={"count": 2}), fan_out("open", items={"count": 3}), fan_out("gone", items={"count": 300})
    )
    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
    await place.world.decide("gone", Cancel("alice"))
    await place.settle()
    await finish_all(place, "over", 2)
    names = ["over", "open", "gone", *(f"open[{n}]" for n in range(3)), *await submitted(place, "gone", 300)]
    before, left = [await place.world.types(name) for name in names], await place.world.left_over()

    await place.world.forget()
    if isinstance(place.world, PgWorld):
        vars(place.conducting.seat)["_position"] = 0
    await place.settle()

    assert [await place.world.types(name) for name in names] == before
    assert await place.world.left_over() == left


async def test_a_child_carries_the_chain_of_its_parent(place: Place) -> None:
    await place.world.submit(fan_out("each", items=[1]))
    await place.settle()

    [parent], [child] = [(await place.world.load([one]))[one][-1:] for one in (stream("each"), stream("each[0]"))]
    assert child.cause.correlation_id == parent.cause.correlation_id
    assert (await place.world.load([stream("each[0]")]))[stream("each[0]")][0].cause.causation_id == str(
        parent.event_id
    )
    assert stream("each[0]") == child_stream(stream("each"), 0)


async def test_a_task_depends_on_it_with_every_condition(place: Place) -> None:
    await place.world.register("w1")
    after = (spec(f"after-{when}", DependsOn(task_id="each", when=when)) for when in ("failed", "finished", "always"))
    await place.world.submit(fan_out("each", items=[1]), spec("after", "each"), *after)
    await place.settle()
    await finish_all(place, "each", 1, failing=(0,))

    assert isinstance(await place.world.task("after"), Ended)
    assert all([isinstance(await place.world.task(f"after-{one}"), Leased) for one in ("failed", "finished", "always")])


async def test_a_conductor_killed_at_any_statement_submits_each_child_once(place: Place) -> None:
    world, count = place.world, 2 * spreading.CHILDREN + 1
    await world.submit(fan_out("each", items={"count": count}))

    for statements in range(16):
        killed = conductor(FusedSeat(place.conducting.seat, Fuse(statements)))
        with suppress(Killed):
            for _ in range(3):
                await killed.step(await killed.seat.page(PAGE, TYPES))
    await place.settle()

    there = await world.load([stream(f"each[{n}]") for n in range(count)])
    assert [len(there[stream(f"each[{n}]")]) for n in range(count)] == [2] * count
    assert await world.types("each") == ["submitted", "spread"]
