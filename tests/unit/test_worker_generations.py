"""A worker's generations, opened by registration, ended by silence; and whether it is given anything."""

from uuid import UUID

import pytest

from domain import events as e
from domain.errors import WorkerIdTaken
from domain.operating import StartWorker, StopWorker
from domain.reports import RegisterWorker
from domain.worker import Lose, Worker, change, evolve, lose, register
from tests.support.histories import WORKER, registered

HERE = RegisterWorker(worker_id="W1", instance=UUID(int=1), engine="engine-1")
LOST = e.WorkerLost(worker_id="W1", generation=1)
STOP, START = StopWorker(worker_id="W1", reason="a new disk"), StartWorker(worker_id="W1")
DRAINING = e.WorkerDraining(worker_id="W1", by="alice", reason="a new disk")
SERVING = e.WorkerServing(worker_id="W1", by="bob")


def after(*events: e.Event) -> Worker:
    state: Worker | None = None
    for event in events:
        state = evolve(state, WORKER, event)
    assert state is not None
    return state


FIRST = after(*register(None, HERE, alive=False))


def test_the_first_registration_opens_generation_one() -> None:
    assert (FIRST.registered.generation, FIRST.version, FIRST.lost) == (1, 1, False)


def test_the_same_process_that_was_lost_opens_a_new_generation() -> None:
    lost = after(FIRST.registered, *lose(FIRST, Lose(1, ())))

    [again] = register(lost, HERE, alive=False)

    assert (lost.lost, lost.version) == (True, 2)
    assert after(FIRST.registered, LOST, again).registered.generation == 2


@pytest.mark.parametrize(("engine", "alive"), [("engine-1", True), ("engine-2", False)])
def test_a_new_process_takes_over_on_the_same_engine_or_from_the_silent(engine: str, alive: bool) -> None:
    [event] = register(FIRST, HERE.model_copy(update={"instance": UUID(int=2), "engine": engine}), alive)

    assert isinstance(event, e.WorkerRegistered)
    assert (event.generation, event.engine) == (2, engine)


def test_an_id_that_is_alive_on_another_engine_is_taken() -> None:
    with pytest.raises(WorkerIdTaken, match="W1 beats on engine engine-1"):
        register(FIRST, HERE.model_copy(update={"instance": UUID(int=2), "engine": "engine-2"}), alive=True)


def test_a_process_that_finds_its_engine_later_opens_a_new_generation_with_it() -> None:
    found = HERE.model_copy(update={"engine": "engine-2", "executors": ("docker", "noop")})

    [event] = register(FIRST, found, alive=True)

    assert isinstance(event, e.WorkerRegistered)
    assert (event.generation, event.engine, event.executors) == (2, "engine-2", ("docker", "noop"))
    assert register(after(FIRST.registered, event), found, alive=True) == []


def test_a_generation_is_lost_once() -> None:
    runs = (UUID(int=7),)

    assert lose(FIRST, Lose(1, runs)) == [e.WorkerLost(worker_id="W1", generation=1, runs=runs)]
    assert lose(after(FIRST.registered, LOST), Lose(1, runs)) == []


def test_silence_of_an_old_generation_loses_nothing() -> None:
    second = after(registered(), registered(2))

    assert lose(second, Lose(1, ())) == []


def test_a_worker_is_drained_once_and_started_once() -> None:
    drained = after(FIRST.registered, DRAINING)
    started = after(FIRST.registered, DRAINING, SERVING)

    assert change(FIRST, STOP, "alice") == [DRAINING]
    assert change(drained, STOP, "carol") == []
    assert change(drained, START, "bob") == [SERVING]
    assert change(started, START, "bob") == change(FIRST, START, "bob") == []
    assert [one.draining for one in (FIRST, drained, started)] == [False, True, False]
    assert [one.version for one in (FIRST, drained, started)] == [1, 2, 3]


def test_a_worker_that_was_drained_stays_so_when_it_is_lost_and_when_it_registers_again() -> None:
    drained = after(FIRST.registered, DRAINING)
    [again] = register(drained, HERE.model_copy(update={"instance": UUID(int=2)}), alive=True)
    gone = after(FIRST.registered, DRAINING, LOST)

    assert lose(drained, Lose(1, ())) == [LOST]
    assert register(drained, HERE, alive=True) == []
    assert (gone.lost, gone.draining) == (True, True)
    back = after(FIRST.registered, DRAINING, LOST, again)
    assert (back.lost, back.draining, back.registered.generation) == (False, True, 2)


def test_a_lost_worker_is_drained_before_it_comes_back() -> None:
    assert change(after(FIRST.registered, LOST), STOP, "alice") == [DRAINING]


@pytest.mark.parametrize(
    "events", [[LOST], [DRAINING], [SERVING], [registered(), e.TaskSkipped(task_id="T1", because="T0")]]
)
def test_a_history_that_no_worker_can_have_is_a_defect(events: list[e.Event]) -> None:
    with pytest.raises(ValueError, match="cannot follow here"):
        after(*events)
