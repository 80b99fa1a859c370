"""A task that reads what others left is filled when it is freed, or fails; in memory and on PostgreSQL."""

from datetime import timedelta

import pytest

from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain.filling import Work
from domain.messages import Json
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn, TaskSpec
from domain.task import Cancel, Wake
from domain.task_states import Delayed, Ended, Leased
from tests.support.conducting import WORKFLOW, spec
from tests.support.conducting_place import Place, place
from tests.support.ended_tasks import NOW

__all__ = ["place"]
ROWS: dict[str, Json] = {"rows": "{{tasks.a.result.rows}}"}


async def test_a_freed_task_is_filled_before_it_is_queued_and_its_leases_say_where(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), spec("b", "a", input={**ROWS, "as": "{{tasks.a.result.rows}} rows"}))
    await place.settle()

    await place.world.finish("a", result={"rows": 7})
    await place.settle()

    _, _, filled, queued, leased = await place.world.events("b")
    assert filled == e.TaskFilled(task_id="b", input={"rows": 7, "as": "7 rows"})
    assert isinstance(queued, e.TaskQueued)
    assert isinstance(leased, e.RunLeased)
    assert leased.filled == 3


async def test_a_value_that_is_not_there_fails_the_task_before_it_runs(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), spec("b", "a", input=ROWS), spec("c", DependsOn(task_id="b", when="failed")))
    await place.settle()

    await place.world.finish("a", result={"row": 7})
    await place.settle()

    detail = 'input.rows: {{tasks.a.result.rows}}: result is an object without "rows"'
    assert (await place.world.events("b"))[2:] == [
        e.TaskFailed(task_id="b", reason="template-missing-field", runs=0, detail=detail)
    ]
    assert isinstance(await place.world.task("c"), Leased)
    assert await place.world.leases() == {"w1": 1}


async def test_a_task_that_cannot_be_filled_fails_its_workflow_fast(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), spec("b", "a", input=ROWS), spec("c"), on_failure="fail-fast")
    await place.settle()

    await place.world.finish("a", result={})
    await place.settle()

    (cancelled,) = [row.event() for row in (await place.world.load([WORKFLOW]))[WORKFLOW]][1:]
    assert cancelled == e.WorkflowCancelled(workflow_id="W", by="saga", reason="b failed", because="b")
    assert (await place.world.types("c"))[-1] == "cancelling"


async def test_status_and_exit_code_can_be_read_of_whatever_end(place: Place) -> None:
    await place.world.register("w1")
    needs = [DependsOn(task_id=name, when="always") for name in ("bad", "gone")]
    asks: dict[str, Json] = {"bad": "{{tasks.bad.exit_code}}", "gone": "{{tasks.gone.status}}"}
    await place.world.submit(spec("bad"), spec("gone"), spec("b", *needs, input=asks))
    await place.settle()

    await place.world.finish("bad", exit_code=3)
    await place.world.decide("gone", Cancel("alice"))
    await place.world.finish("gone", exit_code=143)
    await place.settle()

    assert (await place.world.events("b"))[2] == e.TaskFilled(task_id="b", input={"bad": 3, "gone": "cancelled"})


async def test_a_task_of_a_set_that_has_not_ended_has_no_value(place: Place) -> None:
    await place.world.register("w1")
    one_of = AtLeast(at_least=1, of=(DependsOn(task_id="a"), DependsOn(task_id="z")))
    await place.world.submit(spec("a"), spec("z"), spec("b", one_of, input={"z": "{{tasks.z.status}}"}))
    await place.settle()

    await place.world.finish("a")
    await place.settle()

    failed = (await place.world.events("b"))[-1]
    assert isinstance(failed, e.TaskFailed)
    assert (failed.reason, failed.detail) == (
        "template-missing-field",
        "input.z: {{tasks.z.status}}: task z has not ended",
    )


async def test_a_task_that_is_skipped_is_not_filled(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"), spec("b", "a", input=ROWS))
    await place.settle()

    await place.world.finish("a", exit_code=1)
    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked", "skipped"]


async def test_a_task_that_is_early_is_filled_once_and_waits_on(place: Place) -> None:
    await place.world.register("w1")
    later = spec("b", "a", input=ROWS).model_copy(update={"not_before": NOW + timedelta(days=900 * 365)})
    await place.world.submit(spec("a"), TaskSpec.model_validate(dict(later)))
    await place.settle()

    await place.world.finish("a", result={"rows": 7})
    await place.settle()

    state = await place.world.task("b")
    assert isinstance(state, Delayed)
    assert state.facts.filled == Work(input={"rows": 7})
    await place.world.decide("b", Wake(0))
    assert await place.world.types("b") == ["submitted", "blocked", "filled", "blocked", "queued"]


async def test_the_run_after_one_that_failed_runs_what_was_filled_in(place: Place) -> None:
    await place.world.register("w1")
    twice = Retry(max_runs=2, first=timedelta(0))
    await place.world.submit(spec("a"), spec("b", "a", input=ROWS, retry=twice))
    await place.settle()
    await place.world.finish("a", result={"rows": 7})
    await place.settle()

    await place.world.finish("b", exit_code=1)
    place.world.wait()
    await place.settle()

    leases = [event.filled for event in await place.world.events("b") if isinstance(event, e.RunLeased)]
    assert leases == [3, 3]
    assert (await place.world.types("b")).count("filled") == 1


@pytest.mark.parametrize(("limit", "most"), [("saga.FILLS", 2), ("deciding.MOST_SECONDS", 0)])
async def test_more_readers_than_a_round_fills_are_filled_in_the_next_ones(
    place: Place, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(f"consumers.{limit}", most)
    await place.world.register("w1", slots=20)
    readers = [spec(f"r{n}", "a", input=ROWS) for n in range(7)]
    await place.world.submit(spec("a"), *readers, spec("plain", "a"))
    await place.settle()

    await place.world.finish("a", result={"rows": 7})
    rounds, conducting = 0, place.conducting
    while await conducting.step(await conducting.seat.page(PAGE, TYPES)):
        rounds += 1
        filled = [name for name in range(7) if "filled" in await place.world.types(f"r{name}")]
        assert len(filled) <= max(most, 1) * rounds
    assert rounds >= len(readers) // max(most, 1) - 1

    for reader in readers:
        assert (await place.world.events(reader.task_id or ""))[2] == e.TaskFilled(
            task_id=reader.task_id or "", input={"rows": 7}
        )
    assert isinstance(await place.world.task("plain"), Leased)
    assert isinstance(await place.world.task("a"), Ended)


async def test_input_that_does_not_fit_its_type_when_it_is_filled_fails_the_task(place: Place) -> None:
    await place.world.register("w1")
    typed = {"executor": "docker", "task_type": "shell"}
    await place.world.submit(
        spec("a"),
        spec("b", "a", input={"command": "{{tasks.a.result.rows}}"}).model_copy(update=typed),
        spec("c", "a", input={"command": "{{tasks.a.result.say}}"}).model_copy(update=typed),
    )
    await place.settle()

    await place.world.finish("a", result={"rows": 7, "say": "echo {{tasks.a.result}}"})
    await place.settle()

    detail = 'input.command: 7 is not of type "string"; change it to fit task type shell, which takes command'
    assert (await place.world.events("b"))[2:] == [e.TaskFailed(task_id="b", reason="bad-input", runs=0, detail=detail)]
    filled = (await place.world.events("c"))[2]
    assert isinstance(filled, e.TaskFilled)
    assert filled.container is not None
    assert filled.container.command == ("sh", "-c", "echo {{tasks.a.result}}")
