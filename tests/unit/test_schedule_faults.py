"""A conductor that is killed anywhere, while people pause, trigger and redefine: each time is fired or skipped once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.in_memory.conductor_rows import Rows
from adapters.in_memory.event_log import MemorySeat
from consumers.noting import TYPES
from domain import events as e
from domain.errors import BadInput, UnknownTaskType
from domain.firing import due
from domain.folding import schedule_of
from domain.recorded import Recorded
from domain.task_states import Ended, Held
from domain.task_type import type_stream
from domain.type_specs import Definition
from tests.support.conducting import MemoryWorld, conductor, settle
from tests.support.ended_tasks import NOW
from tests.support.faults import Fuse, FusedSeat, Killed
from tests.support.schedules import S1, SECOND, define, record, trigger

MINUTE = timedelta(minutes=1)
EVERY = 5 * MINUTE


@dataclass(slots=True)
class Trial:
    """S1, every five minutes, on one worker with two slots."""

    given: dict[str, Any]
    world: MemoryWorld = field(default_factory=MemoryWorld)
    since: datetime = NOW
    ended: bool = False

    async def begin(self) -> None:
        await self.world.register("w1", 2)
        await self.put_type()
        await define(self.world, NOW, interval=EVERY, **self.given)

    @property
    def now(self) -> datetime:
        return self.world.hands.now()

    async def conduct(self, fuse: Fuse) -> None:
        seat = FusedSeat(MemorySeat(self.world.log, "conductor", self.world.turn), fuse)
        with suppress(Killed):
            await settle(conductor(seat))

    async def pass_time(self, minutes: int) -> None:
        """The worker stays alive."""
        self.world.hands.move(minutes * MINUTE + SECOND)
        await self.world.beat("w1", beat=len(self.world.log.events))

    async def held(self) -> list[str]:
        own = dict.fromkeys(str(one.stream) for one in self.world.log.events if one.type == e.TaskSubmitted.TYPE)
        return [name for name in own if isinstance(await self.world.task(name), Held)]

    async def finish(self) -> None:
        for name in (await self.held())[:1]:
            await self.world.finish(name, now=self.now)

    async def turn(self) -> None:
        state = schedule_of((await self.world.load([S1]))[S1])
        assert state is not None
        kind = e.ScheduleResumed if state.paused else e.SchedulePaused
        await record(self.world, kind(schedule_id="S1", by="alice"), self.now)

    async def put_type(self, image: str | None = "oven", **schema: Any) -> None:
        """Its next version, or none any more."""
        own = type_stream("default", "bake")
        rows = (await self.world.load([own])).get(own, [])
        number = sum(row.type == e.TaskTypeChanged.TYPE for row in rows)
        event: e.Event = e.TaskTypeRemoved(task_type="bake", number=number, by="alice")
        if image is not None:
            definition = Definition(image=image, input_schema=schema or None)
            event = e.TaskTypeChanged(task_type="bake", number=number + 1, definition=definition, by="alice")
        await record(self.world, event, self.now, own)

    async def trigger(self, nominal: datetime) -> None:
        streams = [one for one in self.of(e.ScheduleFired) if one.nominal == nominal]
        if not streams and nominal <= self.now:
            with suppress(BadInput, UnknownTaskType):
                await trigger(self.world, nominal)

    def of(self, kind: type[e.ScheduleFired]) -> list[e.ScheduleFired]:
        return [event for one in self.world.log.events if isinstance(event := one.event(), kind)]

    async def rebuild(self, page: int) -> None:
        """A conductor that begins with no rows, at the beginning of the log, finds nothing to decide."""
        written, rows = len(self.world.log.events), self.world.rows
        self.world.rows = Rows(clock=rows.clock, beats=rows.beats, leases=rows.leases)
        self.world.log.seats["conductor"] = (self.world.log.seats["conductor"][0], 0)
        seat = MemorySeat(self.world.log, "conductor", self.world.turn)
        conducting = conductor(seat)
        while self.world.log.seats["conductor"][1] < written:
            await conducting.step(await seat.page(page, TYPES))
        await settle(conducting)
        new = self.world.log.events[written:]
        assert [one.type for one in new if one.type.startswith(("schedule.", "task.submitted"))] == []
        assert self.world.rows.schedules == rows.schedules
        assert self.world.rows.schedule_tasks == rows.schedule_tasks

    async def check(self) -> None:
        """Each time has its one fire or is in one span that was skipped; each fire has its one task."""
        fates: dict[datetime, list[str]] = {}
        nominals = due(schedule_rule(self.world.log.events), NOW, self.now, 10_000)
        for one in self.world.log.events:
            match one.event():
                case e.ScheduleFired(nominal=nominal, by=by):
                    fates.setdefault(nominal, []).append(by or "fired")
                case e.FireSkipped(nominal=nominal, to=to, reason=reason, count=count):
                    covered = [each for each in nominals if nominal <= each <= (to or nominal)]
                    assert len(covered) == (count or 1)
                    for each in covered:
                        fates.setdefault(each, []).append(reason)
                case _:
                    pass
        for nominal in nominals:
            fate = fates.pop(nominal)
            assert fate.count("fired") + fate.count("trigger") <= 1
            assert sum(each != "trigger" for each in fate) <= 1
        assert set(map(tuple, fates.values())) <= {("trigger",)}
        fired = self.of(e.ScheduleFired)
        tasks = [one for one in self.world.log.events if one.type == e.TaskSubmitted.TYPE]
        assert sorted(one.task_id for one in fired) == sorted(one.stream for one in tasks)
        ends = [one.stream for one in self.world.log.events if one.type in e.ENDS]
        assert len(set(ends)) == len(ends)

    def check_types(self) -> None:
        """Each task has the version of its type that there was when it was submitted."""
        there: int | None = None
        for one in self.world.log.events:
            match one.event():
                case e.TaskTypeChanged(number=number):
                    there = number
                case e.TaskTypeRemoved():
                    there = None
                case e.TaskSubmitted(spec=spec, task_type_version=version) if spec.task_type == "bake":
                    assert version == there is not None
                case _:
                    pass

    async def check_overlaps(self) -> None:
        """Where fires are to follow each other, no two tasks that their time brought run at once."""
        regular = {one.task_id for one in self.of(e.ScheduleFired) if one.by is None}
        held = [name for name in await self.held() if name in {str(task) for task in regular}]
        assert self.given.get("overlap") == "allow" or len(held) <= 1


def schedule_rule(events: Sequence[Recorded]) -> Any:
    state = schedule_of([one for one in events if one.stream == S1])
    assert state is not None
    return state.rule


GIVEN = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(["skip", "queue", "cancel-running", "allow"]),
        "catch_up": st.sampled_from(
            [{"policy": "skip"}, {"policy": "last"}, {"policy": "all", "max": 3}, {"policy": "all", "within": "PT20M"}]
        ),
        "task": st.sampled_from([{"executor": "noop"}, {"task_type": "bake"}]),
    }
)
ACTIONS = st.lists(
    st.sampled_from(["time", "time", "killed", "killed", "conduct", "finish", "turn", "trigger", "intruded", "type"]),
    max_size=25,
)


TYPES_PUT: list[tuple[str | None, dict[str, Any]]] = [("oven:2", {}), ("oven", {"required": ["loaves"]}), (None, {})]


@settings(max_examples=80, deadline=None)
@given(st.data(), GIVEN, ACTIONS)
async def test_each_time_is_fired_or_skipped_once_however_often_the_conductor_is_killed(
    data: st.DataObject, given: dict[str, Any], actions: list[str]
) -> None:
    trial = Trial(given)
    await trial.begin()
    for action in actions:
        match action:
            case "time":
                await trial.pass_time(data.draw(st.integers(0, 40)))
            case "killed":
                await trial.conduct(Fuse(data.draw(st.integers(0, 40))))
            case "finish":
                await trial.finish()
            case "turn":
                await trial.turn()
            case "type":
                image, schema = data.draw(st.sampled_from(TYPES_PUT))
                await trial.put_type(image, **schema)
            case "trigger":
                await trial.trigger(NOW.replace(minute=0, second=0) + EVERY * data.draw(st.integers(0, 30)))
            case "intruded":
                soon = next(iter(due(schedule_rule(trial.world.log.events), trial.now - EVERY, trial.now, 1)), NOW)
                fuse = Fuse(intrude=partial(trial.trigger, soon))
                await trial.conduct(fuse)
            case _:
                await trial.conduct(Fuse())
        await trial.check_overlaps()
    await trial.conduct(Fuse())
    if (state := schedule_of((await trial.world.load([S1]))[S1])) and state.paused:
        await trial.turn()
    await trial.conduct(Fuse())

    await trial.check()
    trial.check_types()
    await trial.rebuild(data.draw(st.integers(1, 9)))


@settings(max_examples=10, deadline=None)
@given(GIVEN)
async def test_a_conductor_killed_at_every_statement_in_turn_leaves_the_same_history(given: dict[str, Any]) -> None:
    calm, stormy = Trial(given), Trial(given)
    for trial in (calm, stormy):
        await trial.begin()
        for minutes in (5, 5, 30, 5):
            await trial.pass_time(minutes)
            if trial is stormy:
                for statements in range(25):
                    await trial.conduct(Fuse(statements))
            await trial.conduct(Fuse())
            await trial.finish()
        await trial.conduct(Fuse())
        await trial.check()

    assert [one.type for one in calm.world.log.events] == [one.type for one in stormy.world.log.events]


async def test_a_trigger_that_comes_between_is_not_fired_again() -> None:
    trial = Trial({})
    await trial.begin()
    await trial.pass_time(5)
    (soon,) = due(schedule_rule(trial.world.log.events), NOW, trial.now, 9)

    await trial.conduct(Fuse(intrude=lambda: trial.trigger(soon)))

    assert [one.by for one in trial.of(e.ScheduleFired)] == ["trigger"]
    assert not isinstance(await trial.world.task((await trial.held())[0]), Ended)
