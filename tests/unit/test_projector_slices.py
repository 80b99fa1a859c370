"""However large what the log says, the projector holds little of it at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.views import MemoryRows
from consumers.projector import SLICE_BYTES, SLICE_STREAMS, project, slices
from domain.ids import derived_id
from domain.recorded import NewEvent, Recorded, new_events
from domain.specs import Container, TaskSpec
from domain.submitting import submit_task
from domain.task_type import Types
from domain.views import VIEWS, Rows
from tests.support.ended_tasks import CAUSE, TASK, Hands
from tests.support.histories import folded, whole

THIN = TaskSpec(executor="noop")
FAT = TaskSpec(container=Container(image="busybox", command=("x" * 60_000,) * 4))


@dataclass(slots=True)
class Watched:
    """Rows of views, and how many rows, and how many bytes of them, were held at once at most."""

    kept: MemoryRows = field(default_factory=MemoryRows)
    most_rows: int = 0
    most_bytes: int = 0

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        self.most_rows = max(self.most_rows, *map(len, wanted.values()))
        return await self.kept.rows(wanted)

    async def store(self, changed: Mapping[str, Rows]) -> None:
        self.most_bytes = max(self.most_bytes, len(str(changed)))
        await self.kept.store(changed)


def logged(*streams: list[NewEvent]) -> list[Recorded]:
    """One event of each stream after the other, round and round."""
    log = MemoryLog(Hands())
    for version in range(max(map(len, streams))):
        log.append([stream[version] for stream in streams if version < len(stream)])
    return log.events


def submitted(count: int, spec: TaskSpec) -> list[list[NewEvent]]:
    tasks = [derived_id(TASK, f"{n}") for n in range(count)]
    return [new_events(task, 0, "default", submit_task(spec, task, {}, Types("image")), CAUSE) for task in tasks]


async def test_many_tasks_are_folded_in_parts_each_with_all_that_happened_to_it() -> None:
    events = logged(*(whole(derived_id(TASK, f"{n}")) for n in range(2 * SLICE_STREAMS + 1)))
    target = Watched()

    about = await project(target, events, list(VIEWS))

    assert target.most_rows == SLICE_STREAMS
    assert target.kept.tables == {view: folded(view, events) for view in VIEWS}
    assert {view: set(ids) for view, ids in about.items()} == {view: set(folded(view, events)) for view in VIEWS}


async def test_large_tasks_are_folded_a_few_megabytes_at_once() -> None:
    target = Watched()

    await project(target, logged(*submitted(SLICE_STREAMS, FAT)), list(VIEWS))

    assert len(target.kept.tables["tasks"]) == SLICE_STREAMS
    assert SLICE_BYTES / 2 < target.most_bytes < 1.1 * SLICE_BYTES


def test_what_one_stream_says_stays_together_even_if_it_is_too_much() -> None:
    large = new_events(TASK, 0, "default", submit_task(FAT, TASK, {}, Types("image")) * 50, CAUSE)
    events = logged(*submitted(2, THIN), large)

    parts = list(slices(events))

    assert [{event.stream for event in part} for part in parts[1:]] == [{TASK}]
    assert [event.version for event in parts[1]] == list(range(1, 101))
