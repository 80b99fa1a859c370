"""What becomes of what workers report: registrations open generations, starts and finishes become history."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.in_memory.handling import MemoryLease
from domain.ids import derived_id
from domain.ports.broker import Delivery
from domain.ports.handling import Beat
from domain.recorded import new_events
from domain.reports import Heartbeat
from domain.task import decide
from domain.work import Reply
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, Desk, command
from tests.support.ended_tasks import CAUSE, NOW, TASK
from tests.support.task_states import GRANT, QUEUED, RUN, SUBMITTED, fold

WORKER = derived_id(UUID(int=0), "worker:W1")
ENGINE = {"worker_id": "W1", "instance": str(UUID(int=1)), "engine": "engine-1"}
REPORT, REPORT_2 = derived_id(COMMAND, "report 1"), derived_id(COMMAND, "report 2")
START = {"task_id": str(TASK), "run_id": str(RUN), "fence": 1, "container_id": "c1"}
DONE = {**START, "exit_code": 0}
BEAT = Beat(Heartbeat(worker_id="W1", generation=1, beat=1))


def register(id: UUID = COMMAND, **changes: Any) -> Delivery:
    return from_worker("worker.register.v1", {**ENGINE, **changes}, id)


def reports(*given: tuple[str, dict[str, Any], UUID], id: UUID = COMMAND) -> Delivery:
    some = [{"type": name, "id": str(own), "data": data} for name, data, own in given]
    return from_worker("reports.v1", {"worker_id": "W1", "generation": 1, "reports": some}, id)


def from_worker(type: str, data: dict[str, Any], id: UUID) -> Delivery:
    return command(type, data, id, user="worker", exchange="task.reports", queue="task.reports.handler")


def leased() -> Desk:
    """A desk with a task whose first run is leased to W1."""
    desk = Desk()
    events = [SUBMITTED, QUEUED, *decide(fold(SUBMITTED, QUEUED), GRANT, NOW)]
    desk.store.log.append(new_events(TASK, 0, "analytics", events, CAUSE))
    return desk


async def answers(desk: Desk, *deliveries: Delivery) -> list[Reply]:
    before = len(desk.sent.messages)
    await desk.report(list(deliveries))
    return desk.sent.replies[before:]


async def test_a_registration_opens_a_generation_and_names_the_installation() -> None:
    desk = Desk()

    [reply] = await answers(desk, register())

    assert (reply.outcome, reply.id, reply.generation, reply.version) == ("accepted", WORKER, 1, 1)
    assert reply.installation == await desk.store.installation()
    [event] = desk.store.log.events
    assert (event.type, event.namespace, event.cause.actor) == ("worker.registered.v1", "_", "worker:W1")


async def test_a_worker_process_that_registers_again_keeps_its_generation() -> None:
    desk = Desk()
    await answers(desk, register())

    [reply] = await answers(desk, register(COMMAND_2))

    assert (reply.outcome, reply.generation) == ("accepted", 1)
    assert desk.types == ["worker.registered.v1"]


async def test_another_process_of_a_worker_opens_the_next_generation() -> None:
    desk = Desk()
    await answers(desk, register())

    [reply] = await answers(desk, register(COMMAND_2, instance=str(UUID(int=2))))

    assert (reply.outcome, reply.generation, reply.version) == ("accepted", 2, 2)


async def test_registrations_in_one_batch_see_each_other() -> None:
    desk = Desk()

    replies = await answers(desk, register(), register(COMMAND_2), register(COMMAND_3, instance=str(UUID(int=2))))

    assert [reply.generation for reply in replies] == [1, 1, 2]
    assert desk.types == ["worker.registered.v1"] * 2


async def test_a_worker_id_that_beats_on_another_engine_is_refused() -> None:
    desk = Desk()
    await answers(desk, register())
    await desk.store.beats.record([BEAT])

    [reply] = await answers(desk, register(COMMAND_2, instance=str(UUID(int=2)), engine="engine-2"))

    assert reply.problem is not None
    assert reply.problem.code == "worker-id-taken"
    assert "engine-1" in reply.problem.detail
    assert desk.types == ["worker.registered.v1"]


async def test_a_worker_that_fell_silent_may_move_to_another_engine() -> None:
    desk = Desk()
    await answers(desk, register())
    await desk.store.beats.record([BEAT])
    desk.store.beats.clock += 15

    [reply] = await answers(desk, register(COMMAND_2, instance=str(UUID(int=2)), engine="engine-2"))

    assert (reply.outcome, reply.generation) == ("accepted", 2)


async def test_start_and_finish_in_one_message_become_history_in_order() -> None:
    desk = leased()

    await desk.report([reports(("run.start.v1", START, REPORT), ("run.finish.v1", DONE, REPORT_2))])

    assert desk.types[3:] == ["task.run-started.v1", "task.run-succeeded.v1", "task.succeeded.v1"]
    causes = {(event.cause.correlation_id, event.cause.actor, event.namespace) for event in desk.store.log.events[3:]}
    assert causes == {("chain", "worker:W1", "analytics")}
    assert [event.cause.causation_id for event in desk.store.log.events[3:5]] == [str(REPORT), str(REPORT_2)]
    assert desk.sent.messages == []


async def test_a_report_that_comes_twice_takes_effect_once() -> None:
    desk = leased()
    await desk.report([reports(("run.finish.v1", DONE, REPORT))])
    before = list(desk.store.log.events)

    await desk.report([reports(("run.finish.v1", DONE, REPORT), id=COMMAND_2)])

    assert desk.store.log.events == before
    assert len(desk.store.inbox) == 1


async def test_a_lease_that_ends_is_closed_with_the_finish() -> None:
    desk = leased()
    desk.store.beats.leases[RUN] = MemoryLease(1, "W1", 3, 15.0)

    await desk.report([reports(("run.finish.v1", DONE, REPORT))])

    assert desk.store.beats.leases == {}


async def test_a_report_of_an_old_lease_changes_nothing_and_is_noted() -> None:
    desk = leased()

    await desk.report([reports(("run.finish.v1", {**DONE, "fence": 9}, REPORT))])

    assert desk.types[3:] == ["task.late-result-ignored.v1"]


async def test_a_report_on_an_unknown_task_has_its_outcome_at_once() -> None:
    desk = Desk()

    postponed = await desk.report([reports(("run.start.v1", START, REPORT))], timedelta(0))

    [outcome] = desk.store.inbox.values()
    assert (postponed, desk.types) == ([], [])
    assert outcome.reply.problem is not None
    assert outcome.reply.problem.code == "not-found"


async def test_a_report_on_what_is_no_task_has_its_outcome() -> None:
    desk = Desk()
    await answers(desk, register())

    await desk.report([reports(("run.start.v1", {**START, "task_id": str(WORKER)}, REPORT), id=COMMAND_2)])

    assert desk.types == ["worker.registered.v1"]
    assert [outcome.reply.outcome for outcome in desk.store.inbox.values()] == ["accepted", "rejected"]


async def test_a_report_that_is_none_is_answered_with_what_is_wrong() -> None:
    desk = Desk()

    [reply] = await answers(desk, from_worker("worker.register.v1", {"worker_id": "W1"}, COMMAND))

    assert reply.problem is not None
    assert reply.problem.code == "schema"


@pytest.mark.parametrize("beyond", [{"generation": 2**31}, {"fence": 2**31}])
async def test_a_report_with_a_number_that_no_lease_can_have_is_refused(beyond: dict[str, int]) -> None:
    desk = leased()
    one = {"type": "run.start.v1", "id": str(REPORT), "data": {**START, "fence": beyond.get("fence", 1)}}
    data = {"worker_id": "W1", "generation": beyond.get("generation", 1), "reports": [one]}

    [reply] = await answers(desk, from_worker("reports.v1", data, COMMAND))

    assert reply.problem is not None
    assert reply.problem.code == "schema"


async def test_a_beat_on_the_queue_of_reports_becomes_a_dead_letter() -> None:
    desk = Desk()

    await desk.report([from_worker("worker.heartbeat.v1", {"worker_id": "W1", "generation": 1, "beat": 1}, COMMAND)])

    assert (desk.types, desk.store.inbox) == ([], {})
    assert [letter.reason for letter in desk.store.dead_letters] == ["wrong-queue"]
