"""Whatever a task goes through, what is said of it fits its history, and what the conductor does next."""

from contextlib import suppress
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.in_memory.explaining import MemoryExplaining
from consumers.conductor import PAGE
from consumers.noting import TYPES, notes_of
from domain import events as e
from domain.errors import BadState
from domain.explaining import Known, explain
from domain.limit import Limit, Set, limit_stream
from domain.limit import decide as decide_limit
from domain.placing import Concurrency, Rate, Requires
from domain.reasons import CODES, ENDED, HELD, WAITS, Reason, story_of
from domain.recorded import new_events
from domain.retrying import EXHAUSTED
from domain.specs import TaskSpec
from domain.task import Decision, Pause, Resume, decide
from domain.task_states import Ended, Held, Queued, Task, evolve
from domain.why_queued import Place
from tests.support.conducting import MemoryWorld, conductor, settle, spec, stream
from tests.support.ended_tasks import CAUSE, NOW, TASK
from tests.support.explained import OTHER, recorded
from tests.support.task_states import QUEUED, RETRYING, SUBMITTED
from tests.unit.test_task_histories import commands

T0 = OTHER[0].stream
NEEDY = e.TaskSubmitted(
    task_id="T1",
    spec=TaskSpec.model_validate({"executor": "noop", "depends_on": [{"task_id": "T0"}]}, strict=False),
    depends_on=(e.Upstream(task_id="T0", stream=T0),),
)
FIRST: dict[str, list[e.TaskEvent]] = {
    "queued": [SUBMITTED, QUEUED],
    "retrying": [RETRYING, QUEUED],
    "blocked": [NEEDY, e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),))],
}
AFTER_EVENT: dict[type[e.Event], set[str]] = {
    e.TaskPaused: {"pause"},
    e.TaskQueued: {"dispatcher-behind"},
    e.RunLeased: {"offered"},
    e.RunStarted: {"running", "cancelling"},
    e.RunTimingOut: {"timing-out"},
    e.TaskCancelling: {"cancelling"},
    e.TaskSucceeded: {"succeeded", "cached"},
    e.TaskCancelled: {"cancelled"},
    e.TaskQuarantined: {"quarantined"},
}


def fits(last: e.Event, first: Reason) -> bool:
    """Whether the first reason is what the last event says."""
    match last:
        case e.TaskBlocked(by=by):
            return first.code in {one.kind for one in by}
        case e.RunFailed() | e.RunLost():
            return first.code == "retry"
        case e.TaskFailed(reason=reason):
            return first.facts["reason"] == reason and (first.code in {reason, "failed"} or reason == EXHAUSTED)
        case e.TaskSkipped(because=because):
            return (first.code, first.facts["because"]) == ("skipped", because)
        case e.TaskExpired(reason=reason):
            return first.code == reason
        case _:
            return first.code in AFTER_EVENT[type(last)]


@given(st.data(), st.sampled_from(sorted(FIRST)))
def test_the_first_reason_is_what_the_last_event_says_and_an_end_has_but_one(data: st.DataObject, first: str) -> None:
    events: list[e.Event] = [*FIRST[first]]
    state: Task | None = None
    for event in events:
        state = evolve(state, TASK, event)
    for _ in range(data.draw(st.integers(0, 20))):
        assert state is not None
        with suppress(BadState):
            for event in decide(state, data.draw(commands(state)), NOW):
                events.append(event)
                state = evolve(state, TASK, event)
    assert state is not None
    said = [one for one in events if not isinstance(one, e.TaskPriorityChanged | e.LateResultIgnored | e.TaskResumed)]

    causes = explain(Known(story_of(recorded(TASK, *events)), NOW, streams={T0: OTHER}, place=Place(None))).causes

    codes = {one.code for one in causes}
    assert codes <= set(CODES)
    assert codes
    if isinstance(state, Ended):
        assert len(causes) == 1
        assert codes <= set(ENDED)
    else:
        assert codes <= set(HELD if isinstance(state, Held) else WAITS)
    resumed = isinstance(said[-1], e.TaskPaused) and not state.facts.paused
    assert resumed or isinstance(said[-1], e.LeaseExpired) or fits(said[-1], causes[0])


class Town:
    """A conductor, some workers, and tasks that want different things of them."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.names: list[str] = []
        self.instance = 1

    async def queued(self) -> list[str]:
        return [name for name in self.names if isinstance(await self.world.task(name), Queued)]

    async def codes(self, name: str) -> list[str]:
        known = await MemoryExplaining(self.world.log, lambda: self.world.rows).known(stream(name), None)
        assert known is not None
        return [one.code for one in explain(known).causes]

    async def limit(self, scope: str, most: int | None, rate: Rate | None) -> None:
        own = limit_stream(scope)
        rows = (await self.world.load([own])).get(own, [])
        last = rows[-1].event() if rows else None
        before = Limit(own, len(rows), last) if isinstance(last, e.LimitChanged) else None
        events = decide_limit(before, Set(scope, most, rate, "alice"))
        await self.world.append(new_events(own, len(rows), "default", events, CAUSE))


@st.composite
def wishes(draw: st.DrawFn, name: str) -> TaskSpec:
    labels = draw(st.sampled_from([None, None, {"zone": "a"}]))
    pool = draw(st.sampled_from(["default", "default", "gpu"]))
    key = draw(st.sampled_from([None, None, Concurrency(key="k", limit=1), Concurrency(key="k", limit=2)]))
    wanted = {"requires": Requires(pool=pool, labels=labels), "concurrency": key}
    return spec(name, priority=draw(st.integers(1, 10))).model_copy(update=wanted)


async def change(data: st.DataObject, town: Town) -> None:
    """Something happens that the conductor has not seen."""
    match data.draw(st.sampled_from(["submit", "submit", "worker", "drain", "limit", "finish", "silence", "pause"])):
        case "submit":
            name = f"t{len(town.names)}"
            town.names.append(name)
            await town.world.submit(data.draw(wishes(name)))
        case "worker":
            town.instance += 1
            labels = data.draw(st.sampled_from([{}, {"zone": "a"}]))
            worker_id, pool = data.draw(st.sampled_from(["w1", "w2"])), data.draw(st.sampled_from(["default", "gpu"]))
            await town.world.register(worker_id, data.draw(st.integers(1, 3)), pool, town.instance, **labels)
        case "drain":
            if there := sorted({row.registered.worker_id for row in town.world.rows.workers.values()}):
                change = town.world.drain if data.draw(st.booleans()) else town.world.start_worker
                await change(data.draw(st.sampled_from(there)))
        case "limit":
            scope = data.draw(st.sampled_from(["namespace:default", "pool:default", "key:default/k"]))
            rate = data.draw(st.sampled_from([None, Rate(starts=2, per=timedelta(hours=1))]))
            await town.limit(scope, data.draw(st.sampled_from([None, 0, 1, 2])), rate)
        case "finish":
            if held := [name for name in town.names if isinstance(await town.world.task(name), Held)]:
                await town.world.finish(data.draw(st.sampled_from(held)))
        case "silence":
            await town.world.advance(data.draw(st.sampled_from([4.0, 16.0])))
        case _:
            if town.names:
                name = data.draw(st.sampled_from(town.names))
                choice: Decision = Pause("bob") if data.draw(st.booleans()) else Resume("bob")
                with suppress(BadState):
                    await town.world.decide(name, choice)


@settings(max_examples=60, deadline=None)
@given(st.data())
async def test_the_next_round_leases_those_of_which_it_is_said_and_no_other(data: st.DataObject) -> None:
    town = Town()
    async with town.world.seat() as seat:
        conducting = conductor(seat)
        for _ in range(data.draw(st.integers(1, 14))):
            await change(data, town)
            if data.draw(st.booleans()):
                await settle(conducting)
        async with seat.turn(town.world.log.events[-1].position if town.world.log.events else 0) as turn:
            page = await seat.page(PAGE, TYPES)
            await turn.note(await notes_of(turn, page.events))
        silent = any(lease.until <= town.world.rows.clock.seconds for lease, _ in town.world.rows.leases.values())
        said = {name: await town.codes(name) for name in await town.queued()}

        await conducting.step(await seat.page(PAGE, TYPES))

    for name, codes in said.items():
        leased = isinstance(await town.world.task(name), Held)
        assert codes
        assert silent or leased == (codes == ["due"]), (name, codes)


@settings(max_examples=40, deadline=None)
@given(st.data())
async def test_every_task_has_a_reason_at_every_moment(data: st.DataObject) -> None:
    town = Town()
    async with town.world.seat() as seat:
        conducting = conductor(seat)
        for _ in range(data.draw(st.integers(1, 10))):
            await change(data, town)
            if data.draw(st.booleans()):
                await conducting.step(await seat.page(PAGE, TYPES))
            for name in town.names:
                codes = await town.codes(name)
                state = await town.world.task(name)
                assert codes
                assert isinstance(state, Ended) == bool(set(codes) & set(ENDED))
