"""A task with `for_each`: how many children it has, what each of them is, and what their ends make of it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from domain import events as e
from domain.errors import BadInput, BadItems, BadTemplate, Rejected, TooLarge, TooManyItems, Unfilled
from domain.filling import Work, check_read, fill, names_read, work_of
from domain.ids import child_name
from domain.messages import Json
from domain.runs import queued_as
from domain.specs import MOST_CHILDREN, USUAL_PRIORITY, Count, ForEach, Job, TaskSpec
from domain.task_states import Blocked, Recalled, Spread, Task
from domain.task_type import check_filled
from domain.templates import Each, Expression, Known, Values, parse

FAILED = "children-failed"
CHILD_LIMIT = 32 << 10
"""Bytes of what the children of a task have in common, which the log keeps once for each of them."""
ENDS = tuple(sorted(end.split(".")[1] for end in e.ENDS if end != e.TaskSkipped.TYPE))
"""How a child may end: it depends on nothing, and is not skipped."""


def reads(submitted: e.TaskSubmitted) -> tuple[str, ...]:
    """The tasks that its items and the templates of its children read. Raises TooLarge, BadTemplate, and what the first
    child would fail of."""
    for_each, work = _for_each(submitted), _work(submitted)
    common = for_each.task.model_copy(update={"container": work.container})
    if len(common.model_dump_json(exclude_defaults=True).encode()) > CHILD_LIMIT:
        raise TooLarge(
            f"for_each.task: more than {CHILD_LIMIT} bytes of JSON, and each child has its own; pass data by reference"
        )
    source = _source(for_each.items).task if isinstance(for_each.items, str) else None
    try:
        own = names_read(work, each=True) or ()
        names = dict.fromkeys([source, *own] if source is not None else own)
        if not names and count(submitted):
            check_filled(submitted, fill(work, {}, Each(0, _items(for_each, {})[0])), for_each.task)
    except Rejected as rejected:
        raise type(rejected)(f"for_each.task.{rejected.detail}") from None
    return tuple(names)


def count(submitted: e.TaskSubmitted, known: Mapping[str, Known] | None = None) -> int:
    """How many children it has. `known`: the ends of the tasks that it reads. Raises Unfilled."""
    items = _items(_for_each(submitted), known or {})
    if known is not None:
        check_read(_work(submitted), known)
    return len(items)


def freed(task: Blocked, known: Mapping[str, Known], now: datetime) -> list[e.TaskEvent]:
    """What follows when all that it depends on has ended: it is spread, unless it waits for a time or was paused."""
    submitted = task.facts.submitted
    try:
        children = count(submitted, known)
    except Unfilled as unfit:
        return [e.TaskFailed(task_id=task.task_id, reason=unfit.code, runs=0, detail=unfit.detail[:1024])]
    until = submitted.spec.not_before
    if until is not None and now < until:
        return [e.TaskBlocked(task_id=task.task_id, by=(e.BlockerTime(until=until),), children=children)]
    if task.facts.paused:
        return [e.TaskBlocked(task_id=task.task_id, by=(e.BlockerPause(),), children=children)]
    return [begun(submitted, children)]


def going_on(task: Task) -> e.TaskSpread | e.TaskSucceeded:
    """What follows when it waits for nothing any more, its time having come or it being resumed."""
    children = task.facts.children
    return begun(task.facts.submitted, count(task.facts.submitted) if children is None else children)


def begun(submitted: e.TaskSubmitted, children: int) -> e.TaskSpread | e.TaskSucceeded:
    """It is spread; without items it has succeeded."""
    name = submitted.task_id
    if children:
        return e.TaskSpread(task_id=name, children=children)
    return e.TaskSucceeded(task_id=name, runs=0, result=told({}))


def gathered(task: Spread | Recalled, counts: Mapping[str, int]) -> e.TaskEvent:
    """Its end, when all of its children have ended. `counts`: how -> how many."""
    result, name = told(counts), task.task_id
    if isinstance(task, Recalled):
        return e.TaskCancelled(task_id=name, by=task.by, reason=task.reason)
    if result["succeeded"] == result["children"]:
        return e.TaskSucceeded(task_id=name, runs=0, result=result)
    others = ", ".join(f"{result[end]} {end}" for end in ENDS if end != "succeeded" and result[end])
    detail = f"{result['children'] - result['succeeded']} of {result['children']} children did not succeed: {others}"
    return e.TaskFailed(task_id=name, reason=FAILED, runs=0, detail=detail, result=result)


def told(counts: Mapping[str, int]) -> dict[str, int]:
    """The result of a task with `for_each`: all words are there always, for templates."""
    return {"children": sum(counts.values()), **{end: counts.get(end, 0) for end in ENDS}}


def children(parent: Spread, indices: range, known: Mapping[str, Known]) -> Iterator[list[e.TaskEvent]]:
    """The first events of some of its children. `known`: the ends of the tasks that it reads."""
    submitted = parent.facts.submitted
    for_each, work = _for_each(submitted), _work(submitted)
    template = for_each.task
    given: dict[str, Any] = {name: getattr(template, name) for name in Job.model_fields}
    priority = parent.priority if template.priority == USUAL_PRIORITY else template.priority
    first = e.TaskSubmitted(
        task_id="",
        spec=TaskSpec.model_construct(**given).model_copy(update={"priority": priority}),
        container=submitted.container,
        max_parallel=submitted.max_parallel,
        task_type_version=submitted.task_type_version,
    )
    templated, items = names_read(work, each=True) is not None, _items(for_each, known)
    for index in indices:
        of = e.ChildOf.model_construct(
            task_id=submitted.task_id,
            stream=parent.id,
            index=index,
            item=items[index],
            max_parallel=for_each.max_parallel,
            workflow=submitted.workflow if submitted.max_parallel else None,
            again=True if submitted.retry_of else None,
        )
        child = first.model_copy(update={"task_id": child_name(submitted.task_id, index), "child_of": of})
        yield _filled(child, submitted, work, known) if templated else _firsts(child)


def _filled(
    child: e.TaskSubmitted, submitted: e.TaskSubmitted, work: Work, known: Mapping[str, Known]
) -> list[e.TaskEvent]:
    """Its first events; it fails at once where its item is not as its templates, or its type, need it."""
    assert child.child_of is not None, "it is a child"
    try:
        filled = fill(work, known, Each(child.child_of.index, child.child_of.item))
        check_filled(submitted, filled, child.spec)
    except (Unfilled, BadInput) as unfit:
        return [child, e.TaskFailed(task_id=child.task_id, reason=unfit.code, runs=0, detail=unfit.detail[:1024])]
    return _firsts(child.model_copy(update={"filled": filled}))


def _firsts(child: e.TaskSubmitted) -> list[e.TaskEvent]:
    if (until := child.spec.not_before) is not None:
        return [child, e.TaskBlocked(task_id=child.task_id, by=(e.BlockerTime(until=until),))]
    return [child, queued_as(child)]


def _for_each(submitted: e.TaskSubmitted) -> ForEach:
    assert submitted.spec.for_each is not None, "only of a task that has it"
    return submitted.spec.for_each


def _work(submitted: e.TaskSubmitted) -> Work:
    """What its children run, with templates."""
    return work_of(_for_each(submitted).task, submitted.container)


def _items(for_each: ForEach, known: Mapping[str, Known]) -> Sequence[Json]:
    match for_each.items:
        case Count(count=count):
            return range(count)
        case str() as text:
            return _read(text, known)
        case listed:
            return listed


def _source(text: str) -> Expression:
    """Raises BadTemplate."""
    match parse(text, "for_each.items").parts:
        case [Expression(source="result") as alone]:
            return alone
        case _:
            raise BadTemplate(
                "for_each.items: it must be one template that stands for a list, such as {{tasks.NAME.result.FIELD}}"
            )


def _read(text: str, known: Mapping[str, Known]) -> Sequence[Json]:
    source = _source(text)
    try:
        value = source.value(Values(known))
    except Unfilled as unfilled:
        raise type(unfilled)(f"for_each.items: {unfilled.detail}") from None
    if not isinstance(value, list):
        raise BadItems(f"for_each.items: {source.written} is no list")
    items = cast("list[object]", value)
    if len(items) > MOST_CHILDREN:
        raise TooManyItems(
            f"for_each.items: {source.written} has {len(items)} items, and there may be {MOST_CHILDREN} children; "
            "let each item stand for several"
        )
    return items
