"""Names promised to tasks that nobody has submitted yet, and the cycles that such a task may close when it comes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from consumers.batches import Batch
from domain import events as e
from domain.dependencies import check_cycle
from domain.errors import NotFound, TooManyTasks
from domain.folding import task_of
from domain.forwarding import forwards
from domain.ports.handling import HandlerStore, NameKey
from domain.recorded import Recorded
from domain.specs import TaskSpec
from domain.task_states import Blocked

LIMIT, DEEPEST = 10_000, 100
"""Tasks that are looked at to see whether one that others wait for closes a cycle, and steps from one to the next: each
is a look into the store, for which all others wait."""
AT_ONCE, MOST_BYTES = 500, 32 << 20
"""Tasks that are loaded at once, and bytes of events that are loaded at most, and as many tasks more."""


@dataclass(frozen=True, slots=True)
class Needed:
    """The tasks that submissions name, of whatever namespace they are in. `promised`: those among `streams` that
    nobody has submitted, and that may be waited for."""

    streams: Mapping[str, UUID]
    promised: Mapping[str, UUID]


def needed(batch: Batch, namespace: str, specs: Sequence[TaskSpec], own: Collection[str | None] = ()) -> Needed:
    """The streams of what `specs` depend on but do not hold themselves (`own`), as far as they are known or may be
    waited for."""
    streams: dict[str, UUID] = {}
    promised: dict[str, UUID] = {}
    for name, span in forwards(specs).items():
        there = batch.named(namespace, "task", name)
        if name in own:
            continue
        if there is not None and not there.promised:
            streams[name] = there.stream
        elif span is not None:
            promised[name] = streams[name] = there.stream if there else batch.given.new_id()
        elif there is None:
            with suppress(NotFound):
                streams[name] = batch.stream_of(namespace, "task", name)
    return Needed(streams, promised)


def claim(
    batch: Batch,
    namespace: str,
    needs: Needed,
    firsts: Mapping[UUID, Sequence[e.TaskEvent]],
    taken: Collection[UUID],
) -> None:
    """Promise the names that new tasks wait for. `firsts`: their first events; `taken`: those whose names were
    promised. Raises DependencyCycle, TooManyTasks, and then has claimed nothing."""
    promised = {NameKey(namespace, "task", name): stream for name, stream in needs.promised.items()}
    if taken:
        promised |= _still_to_come(batch, namespace, firsts, taken)
    for key, stream in promised.items():
        batch.promise(key, stream)


def _still_to_come(
    batch: Batch, namespace: str, firsts: Mapping[UUID, Sequence[e.TaskEvent]], taken: Collection[UUID]
) -> dict[NameKey, UUID]:
    """The promised names that the check for cycles has ended at. It counts only if these are promised still."""
    new = {new.stream: new.event for new in batch.events if type(new.event) is e.TaskSubmitted}
    new |= {stream: event for stream, (event, *_) in firsts.items() if isinstance(event, e.TaskSubmitted)}
    graph: dict[UUID, list[UUID]] = {}
    names = {stream: new[stream].task_id for stream in taken}
    to_come: dict[NameKey, UUID] = {}
    looked_at, todo = 0, list(taken)
    while todo:
        stream = todo.pop()
        if stream in graph:
            continue
        graph[stream] = []
        submitted = new.get(stream)
        if submitted is None and batch.unseen is not None:
            looked_at += 1
            if stream in batch.unseen or looked_at > LIMIT:
                raise _too_many(names[next(iter(taken))])
            state = batch.task(stream)
            submitted = state.facts.submitted if isinstance(state, Blocked) else None
            if state is None:
                to_come[NameKey(namespace, "task", names[stream])] = stream
        for need in submitted.depends_on if submitted else ():
            graph[stream].append(need.stream)
            names.setdefault(need.stream, need.task_id)
            todo.append(need.stream)
    check_cycle(graph, names.__getitem__)
    return to_come


def _too_many(name: str) -> TooManyTasks:
    return TooManyTasks(
        f"task_id: tasks wait for {name} already, and it waits for more than {LIMIT} tasks, for a chain of more than "
        f"{DEEPEST}, or for very large ones: too many to see whether they wait for each other; submit {name} before "
        "those that need it"
    )


async def look_upstream(
    store: HandlerStore, loaded: dict[UUID, list[Recorded]], starts: Iterable[Collection[UUID]]
) -> frozenset[UUID]:
    """Load what the tasks of each of `starts` wait for, and what those wait for, and so on, as far as LIMIT and DEEPEST
    go; the streams of the tasks beyond. A step of all of them is one look into the store."""
    needs: dict[UUID, frozenset[UUID]] = {}
    room = MOST_BYTES
    walks = [_Walk(set(start), set(start)) for start in starts]
    for _ in range(DEEPEST):
        going = [walk for walk in walks if walk.edge and len(walk.seen) <= LIMIT]
        if not going:
            break
        edge = {stream for walk in going for stream in walk.edge if stream not in needs}
        missing = sorted(stream for stream in edge if stream not in loaded)
        for first in range(0, len(missing), AT_ONCE):
            found = await store.load(missing[first : first + AT_ONCE])
            loaded |= found
            room -= sum(len(event.body) for events in found.values() for event in events)
            if room < 0:
                return frozenset(stream for walk in walks for stream in walk.edge if stream not in needs)
        needs |= {stream: _waits_for(loaded.get(stream, ())) for stream in edge}
        for walk in going:
            walk.step(needs)
    return frozenset(stream for walk in walks for stream in walk.edge if stream not in needs)


@dataclass(slots=True)
class _Walk:
    """`edge`: those of `seen` whose needs are not."""

    seen: set[UUID]
    edge: set[UUID]

    def step(self, needs: Mapping[UUID, Collection[UUID]]) -> None:
        self.edge = {need for stream in self.edge for need in needs[stream]} - self.seen
        self.seen |= self.edge


def _waits_for(events: Sequence[Recorded]) -> frozenset[UUID]:
    if not events or events[0].type != e.TaskSubmitted.TYPE:
        return frozenset()
    state = task_of(events)
    return frozenset(need.stream for need in state.facts.submitted.depends_on if isinstance(state, Blocked))
