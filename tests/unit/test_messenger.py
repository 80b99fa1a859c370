"""What workers are sent, for which events."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

import pytest

from adapters.in_memory.traces import NoTraces
from consumers import messenger
from consumers.messenger import TYPES, UNTAKEN, Messenger
from domain import events as e
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.ports.broker import Outgoing
from domain.ports.log import Page
from domain.ports.messaging import UNTAKEN_BYTES
from domain.ports.topology import Binding, Queue, Topology
from domain.reports import HeldRun
from domain.syncing import LastBeat, Standing
from domain.work import RunOffer, RunStop, WorkerSync
from infra.topology import work_queue
from tests.support.commands import Ids
from tests.support.ended_tasks import TASK, TASK_2
from tests.support.messenger_place import CANCELLING, RUN, RUN_2, TRACE, leased, place


async def test_a_lease_that_no_beat_lists_is_offered_again_after_a_second_and_each_second_after() -> None:
    here = await place()
    here.task(TASK, leased(RUN))
    here.task(TASK_2, leased(RUN_2, worker="w2"))
    here.desk.taken.add(RUN_2)
    offers: list[int] = []

    for _ in range(5):
        await here.step()
        offers.append(len(here.told("w1")))
        here.hands.move(timedelta(seconds=0.5))

    assert offers == [0, 0, 1, 1, 2]
    assert here.told("w2") == []
    offer = here.told("w1")[0]
    assert isinstance(offer, RunOffer)
    assert [(run.run_id, run.fence, run.traceparent) for run in offer.runs] == [(RUN, 1, TRACE)]


async def test_many_leases_that_nobody_takes_keep_no_other_from_being_offered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messenger, "OFFERS_AT_ONCE", 2)
    here = await place()
    runs = sorted(derived_id(RUN, str(n)) for n in range(5))
    for n, run in enumerate(runs):
        here.task(derived_id(TASK, str(n)), leased(run))
    offered: list[list[UUID]] = []

    for _ in range(4):
        here.hands.move(UNTAKEN)
        await here.step()
        offered.append([run.run_id for run in cast("RunOffer", here.told("w1")[-1]).runs])

    assert offered == [runs[:2], runs[2:4], runs[4:], runs[:2]]


async def test_leases_whose_tasks_run_too_much_for_one_look_are_offered_again_by_the_next() -> None:
    here = await place()
    filled = e.TaskFilled(task_id="T1", input={"x": "x" * UNTAKEN_BYTES})
    runs = sorted(derived_id(RUN, str(n)) for n in range(2))
    for run in runs:
        here.task(derived_id(TASK, str(run)), filled, leased(run).model_copy(update={"filled": 2}))
    offered: list[list[UUID]] = []

    for _ in range(3):
        here.hands.move(UNTAKEN)
        await here.step()
        offered.append([run.run_id for run in cast("RunOffer", here.told("w1")[-1]).runs])

    assert offered == [[runs[0]], [runs[1]], [runs[0]]]


async def test_a_clock_that_is_set_back_keeps_no_lease_from_being_offered_again() -> None:
    here = await place()
    await here.step()
    here.hands.move(timedelta(hours=-1))
    here.task(TASK, leased(RUN))
    await here.step()

    here.hands.move(UNTAKEN)
    await here.step()

    assert len(here.told("w1")) == 1


async def test_a_worker_s_queue_that_is_full_and_refuses_holds_up_no_other_worker() -> None:
    here = await place()
    full = Queue(work_queue("w3"), {"x-max-length": 1, "x-overflow": "reject-publish"})
    await here.broker.declare(Topology(queues=(full,), bindings=(Binding("task.work", full.name, "w3"),)))
    here.task(TASK, leased(RUN, worker="w3"))

    for beat in (812, 813):
        here.desk.beats["w1"] = LastBeat("w1", 3, beat)
        here.hands.move(UNTAKEN)
        await here.step()

    assert len(here.told("w3")) == 1
    assert [sync.beat for sync in here.told("w1") if isinstance(sync, WorkerSync)] == [812, 813]
    assert list(here.desk.answers.values()) == [(3, 813)]


async def test_a_lease_that_is_not_open_any_more_is_not_offered_again() -> None:
    here = await place()
    here.task(TASK, leased(RUN), leased(RUN, fence=2, worker="w2"))
    here.task(TASK_2, leased(RUN_2))
    del here.desk.leases[RUN_2]
    here.hands.move(UNTAKEN)

    await here.step()

    assert here.told("w1") == []
    (offer,) = here.told("w2")
    assert isinstance(offer, RunOffer)
    assert [(run.run_id, run.fence) for run in offer.runs] == [(RUN, 2)]


async def test_a_cancelled_run_and_one_over_time_are_stopped_and_one_that_is_not_open_is_not() -> None:
    here = await place()
    late = e.RunTimingOut(task_id="T2", run_id=RUN_2, fence=1, worker_id="w2", grace=timedelta(0))
    here.task(TASK, leased(RUN), CANCELLING)
    here.task(TASK_2, leased(RUN_2, worker="w2"), late, late.model_copy(update={"fence": 2}))

    await here.step()

    stopped = RunStop(task_id=TASK, run_id=RUN, fence=1, grace=timedelta(seconds=30), why="cancel", generation=3)
    timed_out = RunStop(task_id=TASK_2, run_id=RUN_2, fence=1, grace=timedelta(0), why="timeout", generation=3)
    assert here.told("w1") == [stopped]
    assert here.told("w2") == [timed_out]
    assert here.seat.position == 7


async def test_a_stop_is_sent_again_with_its_grace_to_each_beat_that_still_lists_the_run() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    late = e.RunTimingOut(task_id="T2", run_id=RUN_2, fence=1, worker_id="w1", grace=timedelta(0))
    here.task(TASK_2, leased(RUN_2), late)
    await here.step()
    sent = len(here.told("w1"))
    runs = (HeldRun(run_id=RUN, fence=1, state="running"), HeldRun(run_id=RUN_2, fence=1, state="pulling"))
    here.desk.standings["w1"] = Standing(4, {RUN: 1, RUN_2: 1})

    for beat in (1, 2):
        here.desk.beats["w1"] = LastBeat("w1", 4, beat, runs)
        await here.step()

    stops = [
        RunStop(task_id=TASK, run_id=RUN, fence=1, grace=timedelta(seconds=30), why="cancel"),
        RunStop(task_id=TASK_2, run_id=RUN_2, fence=1, grace=timedelta(0), why="timeout"),
    ]
    again = here.told("w1")[sent:]
    assert [message for message in again if isinstance(message, RunStop)] == stops * 2
    (cause,) = {
        message.headers["ce-correlationid"] for message in here.broker.published if message.type == "run.stop.v1"
    }
    assert cause == "chain"


async def test_what_has_just_been_ordered_is_not_ordered_twice_at_once() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    here.desk.standings["w1"] = Standing(3, {RUN: 1})
    here.desk.beats["w1"] = LastBeat("w1", 3, 812, (HeldRun(run_id=RUN, fence=1, state="running"),))

    await here.step()

    assert [message.TYPE for message in here.told("w1")] == ["run.stop.v1", "worker.sync.v1"]


async def test_a_run_that_may_go_on_is_not_stopped_by_a_beat() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING, leased(RUN_2, fence=2))
    await here.step()
    sent = len(here.told("w1"))
    here.desk.standings["w1"] = Standing(3, {RUN_2: 2})
    here.desk.beats["w1"] = LastBeat("w1", 3, 813, (HeldRun(run_id=RUN_2, fence=2, state="running"),))

    await here.step()

    assert here.told("w1")[sent:] == [WorkerSync(generation=3, beat=813, valid=(RUN_2,), logs_stored={RUN_2: 0})]


async def test_each_beat_is_answered_once() -> None:
    here = await place()
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    here.desk.standings["w1"] = Standing(3)

    await here.step()
    await here.step()

    assert here.told("w1") == [WorkerSync(generation=3, beat=812)]
    here.desk.beats["w1"] = LastBeat("w1", 3, 813)
    await here.step()
    assert [sync.beat for sync in here.told("w1") if isinstance(sync, WorkerSync)] == [812, 813]


async def test_beats_that_came_before_the_messenger_are_answered_though_only_the_log_is_heard() -> None:
    here = await place()
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    log_alone = Page((), 0, frozenset({"tally_log"}))

    await here.messenger.step(log_alone)

    assert [message.TYPE for message in here.told("w1")] == [WorkerSync.TYPE]
    here.desk.beats["w1"] = LastBeat("w1", 3, 813)
    assert not await here.messenger.step(log_alone)
    assert len(here.told("w1")) == 1


async def test_beats_that_one_look_left_are_answered_though_only_the_log_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messenger, "BEATS_AT_ONCE", 1)
    here = await place()
    here.desk.beats = {worker: LastBeat(worker, 3, 812) for worker in ("w1", "w2")}
    log_alone = Page((), 0, frozenset({"tally_log"}))

    assert await here.messenger.step(log_alone)
    await here.messenger.step(log_alone)

    assert [len(here.told(worker)) for worker in ("w1", "w2")] == [1, 1]


async def test_what_was_not_confirmed_is_sent_again() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    here.broker.down = Unavailable("broker: down")
    with pytest.raises(Unavailable):
        await here.step()
    assert here.seat.position == 0
    here.broker.down = None

    await here.step()

    assert [message.TYPE for message in here.told("w1")] == ["run.stop.v1", "worker.sync.v1"]


async def test_a_broker_that_says_nothing_does_not_hold_the_turn_until_a_standby_takes_it() -> None:
    class Silent:
        async def publish(self, messages: Sequence[Outgoing]) -> None:
            await asyncio.Event().wait()

    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    messenger = Messenger(here.seat, Silent(), NoTraces(), Ids(), send_seconds=0.01)

    with pytest.raises(Unavailable, match="no confirm"):
        await messenger.step(await here.seat.page(1000, TYPES))

    assert here.seat.position == 0


async def test_a_worker_whose_queue_is_gone_holds_up_nobody() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING.model_copy(update={"worker_id": "gone"}))
    here.task(TASK_2, leased(RUN_2), CANCELLING.model_copy(update={"run_id": RUN_2}))

    await here.step()

    assert len(here.told("w1")) == 1
    assert here.seat.position == 6
