"""A conductor that is killed anywhere, again and again, while others write: the next one goes on, nothing twice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.in_memory.conductor_rows import Rows
from adapters.in_memory.event_log import MemorySeat
from consumers import spreading
from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain.caching import key_for, looks
from domain.dependencies import MEETS, Requirement, named, requirements, standing
from domain.dependencies import settle as fate
from domain.ends import known
from domain.errors import BadState, TemplateMissingField
from domain.filling import fill
from domain.folding import task_of, workflow_of
from domain.messages import Json
from domain.placing import Cache, Concurrency
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec, When
from domain.task import Cancel, Free, Pause, Resume
from domain.task_states import Ended, Held, Queued
from tests.support.conducting import WORKFLOW, MemoryWorld, conductor, fan_out, settle, spec, stream
from tests.support.ended_tasks import NOW
from tests.support.faults import Fuse, FusedSeat, Killed
from tests.support.run_order import check_runs


@dataclass(slots=True)
class Trial:
    """A workflow on some workers, and what must hold after every commit. `early`: tasks that wait for some of it before
    it is there, and that expire if they wait for another too."""

    specs: Sequence[TaskSpec]
    slots: dict[str, int]
    on_failure: OnFailure = "skip-downstream"
    max_parallel: int | None = None
    early: Sequence[TaskSpec] = ()
    world: MemoryWorld = field(default_factory=MemoryWorld)

    @property
    def names(self) -> list[str]:
        return [one.task_id or "" for one in (*self.specs, *self.early)]

    async def running(self) -> list[str]:
        """The tasks of the graph, and such children of them as there are."""
        spread = [f"{one.task_id}[{n}]" for one in self.specs if one.for_each for n in range(MOST_ITEMS)]
        there = await self.world.load([stream(name) for name in spread])
        return [*self.names, *(name for name in spread if stream(name) in there)]

    async def begin(self) -> None:
        for worker_id, slots in self.slots.items():
            await self.world.register(worker_id, slots)
        await self.world.submit(*self.early, now=NOW - timedelta(hours=2))
        await self.world.submit_workflow(*self.specs, on_failure=self.on_failure, max_parallel=self.max_parallel)

    async def conduct(self, fuse: Fuse) -> None:
        """A new conductor, for as long as its fuse lasts or there is something to do."""
        seat = FusedSeat(MemorySeat(self.world.log, "conductor", self.world.turn), fuse)
        with suppress(Killed):
            conducting = conductor(seat)
            for _ in range(30):
                more = await conducting.step(await seat.page(PAGE, TYPES))
                await self.check_leases()
                if not more:
                    await self.check_fail_fast()
                    await self.check_queue()
                    break
        await self.check_leases()
        self.check_drained()

    def check_drained(self) -> None:
        """No run was given to a worker while it was drained, in whatever generation."""
        drained = set[str]()
        for row in self.world.log.events:
            match event := row.event():
                case e.WorkerDraining(worker_id=worker_id):
                    drained.add(worker_id)
                case e.WorkerServing(worker_id=worker_id):
                    drained.remove(worker_id)
                case e.RunLeased():
                    assert event.worker_id not in drained
                case _:
                    pass

    async def check_queue(self) -> None:
        """Where nothing is left to do at once, the queue holds no task but those that were queued when it was read."""
        position = self.world.log.seats["conductor"][1]
        for name in await self.running():
            rows = (await self.world.load([stream(name)]))[stream(name)]
            if stream(name) in self.world.rows.queue and rows[-1].position <= position:
                assert isinstance(task_of(rows), Queued)

    async def check_fail_fast(self) -> None:
        """Where nothing is left to do at once, a failure has cancelled what was open."""
        states = [await self.world.task(one.task_id or "") for one in self.specs]
        failed = any(isinstance(state, Ended) and state.status == "failed" for state in states)
        if self.on_failure == "fail-fast" and failed:
            rows = (await self.world.load([WORKFLOW]))[WORKFLOW]
            assert workflow_of(rows).status != "running"

    async def rebuild(self, page: int) -> None:
        """A conductor that begins with no rows, at the beginning of the log, finds nothing to decide."""
        written, rows = len(self.world.log.events), self.world.rows
        self.world.rows = Rows(clock=rows.clock, beats=rows.beats)
        self.world.log.seats["conductor"] = (self.world.log.seats["conductor"][0], 0)
        seat = MemorySeat(self.world.log, "conductor", self.world.turn)
        conducting = conductor(seat)
        while self.world.log.seats["conductor"][1] < written:
            await conducting.step(await seat.page(page, TYPES))
        await settle(conducting)
        assert len(self.world.log.events) == written
        assert await self.world.left_over() == 0

    async def check_leases(self) -> None:
        """Open leases are those of the log's fold, and no worker has more than its slots."""
        states = [await self.world.task(name) for name in await self.running()]
        held = {(state.lease.run_id, state.lease.fence) for state in states if isinstance(state, Held)}
        rows = self.world.rows.leases
        assert {(lease.run_id, lease.fence) for lease, _ in rows.values()} == held
        for worker_id, count in Counter(lease.worker_id for lease, _ in rows.values()).items():
            assert count <= self.slots[worker_id]
        limits = {share.scope: share.limit for lease, _ in rows.values() for share in lease.lane.shares}
        for scope, count in Counter(share.scope for lease, _ in rows.values() for share in lease.lane.shares).items():
            assert count <= limits[scope]

    async def held(self) -> list[str]:
        return [name for name in await self.running() if isinstance(await self.world.task(name), Held)]

    async def cancel(self, name: str) -> None:
        with suppress(BadState):
            await self.world.decide(name, Cancel("alice"))

    async def pause(self, name: str) -> None:
        with suppress(BadState):
            await self.world.decide(name, Pause("bob"))

    async def resume(self, name: str) -> None:
        with suppress(BadState):
            await self.world.decide(name, Resume("bob"))

    async def cancel_workflow(self) -> None:
        with suppress(BadState):
            await self.world.cancel_workflow()

    async def wear_out(self) -> None:
        """Time passes: every lease and every worker's last beat is too old, then the workers are back."""
        await self.world.advance(20.0)
        await self.conduct(Fuse())
        for n, worker_id in enumerate(self.slots):
            await self.world.register(worker_id, self.slots[worker_id], instance=len(self.world.log.events) + n)

    async def drain(self) -> None:
        """Without faults, until every task has ended. The first that ends here fails."""
        exit_code = 1
        for name in await self.running():
            await self.resume(name)
        for worker_id in self.slots:
            await self.world.start_worker(worker_id)
        for _ in range(len(self.names) * (2 + MOST_ITEMS) + 2):
            await self.conduct(Fuse())
            for name in (await self.held())[:1] if exit_code else await self.held():
                await self.world.finish(name, exit_code)
                exit_code = 0
        await self.conduct(Fuse())

    async def check_end(self) -> None:
        """Every task has ended once, in the order of its dependencies, and nothing is left to do."""
        histories = {name: (await self.world.load([stream(name)]))[stream(name)] for name in self.names}
        ended = {name: row for name, rows in histories.items() for row in rows if row.type in e.ENDS}
        assert set(ended) == set(self.names)
        for name, rows in histories.items():
            assert isinstance(await self.world.task(name), Ended)
            assert sum(row.type in e.ENDS for row in rows) == 1
            check_runs([row.event() for row in rows])
            submitted = rows[0].event()
            assert isinstance(submitted, e.TaskSubmitted)
            self.check_order(submitted.spec, rows, ended)
            await self.check_taken(rows)
            self.check_filled(submitted, rows, ended)
            await self.check_children(submitted, rows)
        members = {one.task_id for one in self.specs}
        await self.check_workflow({name: row.type.split(".")[1] for name, row in ended.items() if name in members})
        for one in self.early:
            assert (GHOST in named(one.depends_on)) >= (ended[one.task_id or ""].type == e.TaskExpired.TYPE)

    async def check_children(self, submitted: e.TaskSubmitted, rows: Sequence[Any]) -> None:
        """A task that was spread has its children once, in order, and ends as they did when they had."""
        spread = next((row for row in rows if row.type == e.TaskSpread.TYPE), None)
        if submitted.spec.for_each is None or spread is None:
            return
        count, name = spread.event().children, submitted.task_id
        there = [one for one in await self.running() if one.startswith(f"{name}[")]
        assert there == [f"{name}[{n}]" for n in range(len(there))]
        events = [(await self.world.load([stream(one)]))[stream(one)] for one in there]
        ends = Counter(of[-1].type.split(".")[1] for of in events)
        assert all(of[-1].position < rows[-1].position for of in events)
        match rows[-1].event():
            case e.TaskSucceeded(result=result):
                assert (count, ends) == (len(there), {"succeeded": count})
                assert result["children"] == count
            case e.TaskFailed(result=result):
                assert count == len(there)
                assert {end: n for end, n in result.items() if n and end != "children"} == ends
            case end:
                assert isinstance(end, e.TaskCancelled)

    def check_order(self, one: TaskSpec, rows: Sequence[Any], ended: dict[str, Any]) -> None:
        leased = [row.position for row in rows if row.type in (e.RunLeased.TYPE, e.TaskSpread.TYPE)]
        if leased:
            assert fate([standing(each, ends) for each, ends in self.ends_before(leased[0], one, ended)]) == Free()
        if rows[-1].type == e.TaskSkipped.TYPE:
            because = rows[-1].event().because
            assert any(
                standing(each, ends).lost and because in ends and ends[because] not in MEETS[each.of[because]]
                for each, ends in self.ends_before(rows[-1].position, one, ended)
            )

    async def check_taken(self, rows: Sequence[Any]) -> None:
        """What is taken is what an equal task had left by a run of its own; whoever takes it runs no more."""
        end, state = rows[-1].event(), await self.world.task(rows[0].event().task_id)
        if not isinstance(end, e.TaskSucceeded) or end.cached_from is None:
            return
        theirs = (await self.world.load([end.cached_from.stream]))[end.cached_from.stream]
        left = theirs[-1].event()
        assert isinstance(left, e.TaskSucceeded)
        assert left.cache == e.Kept(key=key_for(state.facts), ttl=left.cache.ttl if left.cache else timedelta(0))
        assert (left.cached_from, left.result) == (None, end.result)
        assert (theirs[-1].position < rows[-1].position, end.cache) == (True, None)
        assert looks(state.facts.submitted)
        assert rows[-2].type in (e.TaskQueued.TYPE, e.TaskPriorityChanged.TYPE)

    def check_filled(self, submitted: e.TaskSubmitted, rows: Sequence[Any], ended: dict[str, Any]) -> None:
        """A task runs with what those it reads had left when it was freed, and fails unrun where that is not there."""
        if submitted.spec.for_each is not None:
            return
        events = [row.event() for row in rows]
        at = next((n for n, event in enumerate(events) if isinstance(event, e.TaskFilled)), None)
        leases = [event.filled for event in events if isinstance(event, e.RunLeased)]
        assert leases == [at + 1 if at is not None else None] * len(leases)
        assert not (submitted.reads and leases) or at is not None
        unfilled = isinstance(end := events[-1], e.TaskFailed) and end.reason == "template-missing-field"
        if at is None and not unfilled:
            return
        some_of = [each.of for each in requirements(submitted.spec.depends_on) if each.at_least < len(each.of)]
        try:
            filled = fill(submitted.work, {name: known(row.event()) for name, row in ended.items()})
        except TemplateMissingField:
            assert unfilled
        else:
            early = any(name in of for name in submitted.reads or () for of in some_of)
            assert early if unfilled else events[at or 0] == e.TaskFilled(task_id=submitted.task_id, **dict(filled))
        assert at is not None or not any(isinstance(event, e.TaskQueued) for event in events)

    def ends_before(
        self, position: int, one: TaskSpec, ended: dict[str, Any]
    ) -> list[tuple[Requirement, dict[str, str]]]:
        """Each requirement of a task, with how those of it had ended that had."""
        over = {name: row for name, row in ended.items() if row.position < position}
        return [
            (each, {name: over[name].type.split(".")[1] for name in each.of if name in over})
            for each in requirements(one.depends_on)
        ]

    async def check_workflow(self, ends: dict[str, str]) -> None:
        rows = (await self.world.load([WORKFLOW]))[WORKFLOW]
        assert workflow_of(rows).status == "finished"
        assert rows[-1].event() == e.WorkflowFinished(workflow_id="W", **Counter(ends.values()))
        for because in (event.because for row in rows if isinstance(event := row.event(), e.WorkflowCancelled)):
            assert because is None or (self.on_failure, ends[because]) == ("fail-fast", "failed")
        assert await self.world.left_over() == 0


ASKED = ["result.n", "result.n", "status", "exit_code"]
GHOST = "never_submitted"
MOST_ITEMS = 4
SLOTS = st.dictionaries(st.sampled_from(["w1", "w2", "w3"]), st.integers(1, 3), min_size=1)
WHENS: list[When | None] = [None, None, *MEETS]
ON_FAILURE: list[OnFailure] = ["skip-downstream", "fail-fast", "continue"]


CLOSED = Concurrency(key="n", when_full="cancel-newest")
CACHES = [None, Cache(), Cache(ttl=timedelta(hours=1))]
KEYS = [None, None, Concurrency(key="k"), Concurrency(key="o", when_full="cancel-oldest"), CLOSED]


@st.composite
def graphs(draw: st.DrawFn) -> list[TaskSpec]:
    """Tasks that each need some of those before, some of them as sets."""
    size = draw(st.integers(1, 9))
    twice = Retry(max_runs=2, first=timedelta(0))
    specs: list[TaskSpec] = []
    for n in range(size):
        needs = draw(_needs(n))
        reads = sorted(draw(st.sets(st.sampled_from(names)))) if (names := named(needs)) else []
        asks = {name: f"{{{{tasks.{name}.{draw(st.sampled_from(ASKED))}}}}}" for name in reads}
        if draw(st.integers(0, 3)) == 0:
            counts = st.integers(0, MOST_ITEMS).map(lambda count: {"count": count})
            items: Json = f"{{{{tasks.{reads[0]}.result.items}}}}" if reads else draw(counts)
            specs.append(fan_out(f"t{n}", *needs, items=items, parallel=draw(st.sampled_from([None, 1]))))
            continue
        one = spec(f"t{n}", *needs, retry=draw(st.sampled_from([None, twice])), input=asks or None)
        specs.append(one.model_copy(update={"cache": draw(st.sampled_from(CACHES))}))
    return specs


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    """A graph on workers; under fail-fast its tasks need each other's success alone."""
    specs, on_failure = draw(graphs()), draw(st.sampled_from(ON_FAILURE))
    if on_failure == "fail-fast":
        alone = [tuple(DependsOn(task_id=need) for need in named(one.depends_on)) for one in specs]
        specs = [one.model_copy(update={"depends_on": needs}) for one, needs in zip(specs, alone, strict=True)]
    keyed = [
        one if one.for_each else one.model_copy(update={"concurrency": draw(st.sampled_from(KEYS))}) for one in specs
    ]
    early = st.lists(_early(len(specs)), max_size=2, unique_by=lambda one: one.task_id)
    return Trial(keyed, draw(SLOTS), on_failure, draw(st.sampled_from([None, 1, 2])), draw(early))


@st.composite
def _early(draw: st.DrawFn, size: int) -> TaskSpec:
    names = [*(f"t{n}" for n in range(size)), GHOST]
    needs = draw(st.sets(st.sampled_from(names), min_size=1, max_size=3))
    reads = sorted(draw(st.sets(st.sampled_from(sorted(needs)))))
    asks = {name: f"{{{{tasks.{name}.{draw(st.sampled_from(ASKED))}}}}}" for name in reads}
    hour = timedelta(hours=1)
    number = draw(st.integers(1, 1000))
    forward = (DependsOn(task_id=need, forward=hour) for need in sorted(needs))
    return spec(f"early-{number}", *forward, input=asks or None)


@st.composite
def _needs(draw: st.DrawFn, before: int) -> list[DependsOn | AtLeast]:
    whens = st.sampled_from(WHENS)
    chosen = sorted(draw(st.sets(st.integers(0, before - 1), max_size=4)) if before else ())
    alone = [DependsOn(task_id=f"t{m}", when=draw(whens)) for m in chosen]
    split = draw(st.integers(0, len(alone)))
    if split == len(alone):
        return [*alone]
    of = tuple(alone[split:])
    return [*alone[:split], AtLeast(at_least=draw(st.integers(1, len(of))), of=of)]


@pytest.fixture(autouse=True, scope="module")
def few_children_a_round() -> Iterator[None]:
    """So that there are always some yet to be submitted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "CHILDREN", 2)
        yield


ACTIONS = st.sampled_from(
    [
        "killed",
        "conduct",
        "finish",
        "finish",
        "fail",
        "cancel",
        "pause",
        "resume",
        "intruded",
        "overtaken",
        "wear out",
        "drain",
        "start",
    ]
)


async def act(data: st.DataObject, trial: Trial, action: str) -> None:
    name = data.draw(st.sampled_from(await trial.running()))
    match action:
        case "killed":
            await trial.conduct(Fuse(data.draw(st.integers(0, 40))))
        case "conduct":
            await trial.conduct(Fuse())
        case "finish" | "fail":
            if held := await trial.held():
                name = data.draw(st.sampled_from(held))
                result = data.draw(st.sampled_from([None, {"n": 7}, {"n": 7, "items": ["x", "y"]}]))
                await trial.world.finish(name, exit_code=int(action == "fail"), result=result)
        case "cancel":
            await trial.cancel(name)
        case "pause":
            await trial.pause(name)
        case "resume":
            await trial.resume(name)
        case "drain":
            await trial.world.drain(data.draw(st.sampled_from(sorted(trial.slots))))
        case "start":
            await trial.world.start_worker(data.draw(st.sampled_from(sorted(trial.slots))))
        case "intruded":
            intruder = data.draw(st.sampled_from([trial.cancel, trial.pause]))
            fuse = Fuse(data.draw(st.integers(10, 60)), intrude=lambda: intruder(name))
            await trial.conduct(fuse)
        case "overtaken":

            async def requeue() -> None:
                await trial.pause(name)
                await trial.resume(name)

            await trial.conduct(Fuse(overtake=requeue))
        case _:
            await trial.wear_out()


@settings(max_examples=60)
@given(st.data(), trials())
async def test_every_task_ends_once_and_in_order_however_often_the_conductor_is_killed(
    data: st.DataObject, trial: Trial
) -> None:
    await trial.begin()
    for action in data.draw(st.lists(ACTIONS, max_size=12)):
        await act(data, trial, action)
    if data.draw(st.booleans()):
        await trial.cancel_workflow()
        await trial.conduct(Fuse(data.draw(st.integers(0, 40))))

    await trial.drain()

    await trial.check_end()
    await trial.rebuild(data.draw(st.integers(1, 9)))


@settings(max_examples=10)
@given(graphs())
async def test_a_conductor_killed_at_every_statement_in_turn_leaves_the_same_history(specs: list[TaskSpec]) -> None:
    calm, stormy = Trial(specs, {"w1": 2}), Trial(specs, {"w1": 2})
    for trial in (calm, stormy):
        await trial.begin()
        held: list[str] | None = None
        while held != []:
            if trial is stormy:
                for statements in range(20):
                    await trial.conduct(Fuse(statements))
            await trial.conduct(Fuse())
            held = await trial.held()
            for name in held:
                await trial.world.finish(name)
        await trial.conduct(Fuse())
        await trial.check_end()

    assert await told(calm) == await told(stormy)


async def told(trial: Trial) -> dict[str, list[str]]:
    return {name: await trial.world.types(name) for name in trial.names}


async def test_a_stream_that_moved_during_a_round_does_not_hold_up_the_others() -> None:
    trial = Trial([spec("a"), spec("b")], {"w1": 2})
    await trial.begin()

    await trial.conduct(Fuse(intrude=lambda: trial.cancel("a")))

    assert await trial.world.types("a") == ["submitted", "queued", "cancelled"]
    assert await trial.world.types("b") == ["submitted", "queued", "run-leased"]
    assert await trial.world.leases() == {"w1": 1}


async def test_the_position_moves_with_what_was_read() -> None:
    trial = Trial([spec("a")], {"w1": 1})
    await trial.begin()
    seat = MemorySeat(trial.world.log, "conductor", trial.world.turn)

    await settle(conductor(seat))
    await settle(conductor(seat))

    assert seat.position == len(trial.world.log.events)
