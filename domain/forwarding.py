"""Tasks that wait for tasks which nobody has submitted yet: forward references. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from domain import events as e
from domain.specs import AtLeast, DependsOn, TaskSpec


def forwards(specs: Iterable[TaskSpec]) -> dict[str, timedelta | None]:
    """How long each task that `specs` need may be waited for before it is there: the least span of several references,
    None if one of them does not wait at all."""
    spans: dict[str, timedelta | None] = {}
    for need in (need for spec in specs for need in _each(spec.depends_on)):
        if need.task_id not in spans:
            spans[need.task_id] = need.forward
            continue
        before = spans[need.task_id]
        spans[need.task_id] = None if before is None or need.forward is None else min(before, need.forward)
    return spans


def with_deadlines(events: Sequence[e.TaskEvent], promised: Collection[str], now: datetime) -> list[e.TaskEvent]:
    """A task's first events, which say until when it waits for those of `promised`, whom nobody has submitted."""
    if not promised:
        return list(events)
    submitted, blocked, *rest = events
    assert isinstance(submitted, e.TaskSubmitted), "a task's stream begins with its submission"
    if not isinstance(blocked, e.TaskBlocked):
        return list(events)
    spans = forwards([submitted.spec])
    until = {name: now + span for name in promised if (span := spans.get(name)) is not None}
    by = tuple(_until(one, until) for one in blocked.by)
    return [submitted, blocked.model_copy(update={"by": by}), *rest]


def deadlines(blocked: e.TaskBlocked) -> dict[str, datetime]:
    """Until when the task waits for each task that was not there when it was submitted."""
    alone = [one for one in blocked.by if isinstance(one, e.Blocker)]
    sets = [one for each in blocked.by if isinstance(each, e.BlockerSet) for one in each.of]
    return {one.task_id: one.forward_until for one in (*alone, *sets) if one.forward_until is not None}


def _each(needs: Iterable[DependsOn | AtLeast]) -> Iterator[DependsOn]:
    for need in needs:
        yield from need.of if isinstance(need, AtLeast) else (need,)


def _until(one: e.AnyBlocker, until: Mapping[str, datetime]) -> e.AnyBlocker:
    match one:
        case e.Blocker(task_id=name) if name in until:
            return one.model_copy(update={"forward_until": until[name]})
        case e.BlockerSet(of=of):
            dated = (each.model_copy(update={"forward_until": until.get(each.task_id)}) for each in of)
            return one.model_copy(update={"of": tuple(dated)})
        case _:
            return one
