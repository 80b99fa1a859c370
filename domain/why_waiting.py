"""What a task waits for that is not queued. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

from domain import events as e
from domain.dependencies import MEETS, requirements, settle, standing
from domain.forwarding import deadlines
from domain.reasons import Reason, Story, text
from domain.specs import AtLeast, DependsOn, When
from domain.task import Skip
from domain.task_states import Blocked

SHOWN = 10
"""So many tasks that one waits for are named."""


def open_needs(story: Story, ends: Mapping[str, str]) -> list[UUID]:
    """The streams of tasks that are to be named with how they stand. `ends`: how those it needs did, that ended."""
    names = [name for need in _unmet(story, ends) for name in _names(need) if name not in ends]
    streams = {one.task_id: one.stream for one in story.task.facts.submitted.depends_on}
    return [streams[name] for name in islice(dict.fromkeys(names), SHOWN)]


def waiting(story: Story, ends: Mapping[str, str], stands: Mapping[str, str], now: datetime) -> list[Reason]:
    """All that keeps a task from the queue. `stands`: how some of those stand that it needs and that have not ended."""
    spec = story.task.facts.submitted.spec
    reasons: list[Reason] = []
    if spec.expires_at is not None and spec.expires_at <= now:
        reasons.append(Reason("to-be-expired", f"it was to begin before {text(spec.expires_at)}: it expires at once"))
    reasons += _paused(story)
    if isinstance(story.task, Blocked):
        reasons += _dependencies(story, ends, stands, now)
        if spec.not_before is not None and now < spec.not_before:
            reasons.append(_time(spec.not_before))
    return [*reasons, *_delayed(story)]


def _paused(story: Story) -> Iterator[Reason]:
    if story.task.facts.paused:
        paused = next(event for event in _back(story) if isinstance(event, e.TaskPaused))
        why = f": {paused.reason}" if paused.reason else ""
        facts = {"by": paused.by} | ({"reason": paused.reason} if paused.reason else {})
        name = story.task.task_id
        yield Reason("pause", f"paused by {paused.by}{why}; let it go on with: tally resume {name}", facts)


def _delayed(story: Story) -> Iterator[Reason]:
    for event in _back(story):
        match event:
            case e.TaskBlocked(by=by) if all(isinstance(one, e.BlockerTime) for one in by):
                yield _time(max(one.until for one in by if isinstance(one, e.BlockerTime)))
            case e.RunFailed(retry_at=at) | e.RunLost(retry_at=at) if at is not None:
                yield _retry(story, event, at)
            case e.TaskPaused() | e.TaskResumed() | e.TaskPriorityChanged() | e.LateResultIgnored():
                continue
            case _:
                pass
        return


def _time(until: datetime) -> Reason:
    return Reason("time", f"it is not queued before {text(until)}", {"until": text(until)})


def _retry(story: Story, event: e.RunFailed | e.RunLost, at: datetime) -> Reason:
    if isinstance(event, e.RunFailed):
        why = event.reason if event.exit_code is None else f"{event.reason} ({event.exit_code})"
        reason = event.reason
    else:
        why = reason = event.error.code if event.error else "lost"
    retry = story.task.facts.submitted.spec.retry
    failures, most = story.task.facts.failures, retry.max_runs if retry else 1
    what = "the fallback" if event.fallback else f"the next of {most} runs"
    facts = {"reason": reason, "run": event.run, "failures": failures, "max_runs": most, "until": text(at)}
    return Reason("retry", f"run {event.run} failed: {why}; {what} follows at {text(at)}", facts)


def _dependencies(story: Story, ends: Mapping[str, str], stands: Mapping[str, str], now: datetime) -> Iterator[Reason]:
    spec = story.task.facts.submitted.spec
    match settle([standing(one, ends) for one in requirements(spec.depends_on)]):
        case Skip(because=because):
            yield Reason("to-be-skipped", f"{because} has {_ended(ends[because])}: it is skipped at once")
            return
        case None:
            pass
        case _:
            yield Reason("to-be-queued", "all that it depends on has ended as it must: it goes on at once")
            return
    unmet = _unmet(story, ends)
    until = _awaited(story, ends, stands)
    stands = {**dict.fromkeys(until, "not submitted"), **stands}
    for need in unmet[:SHOWN]:
        if isinstance(need, DependsOn) and need.task_id in until:
            yield _not_submitted(story, need, until[need.task_id], now)
        else:
            yield _one(need, stands) if isinstance(need, DependsOn) else _set(need, ends, stands)
    if (more := len(unmet) - SHOWN) > 0:
        yield Reason("more-dependencies", f"+{more} more that it depends on", {"more": more})


def _awaited(story: Story, ends: Mapping[str, str], stands: Mapping[str, str]) -> dict[str, datetime]:
    """Until when the task waits for each of those it was looked for, and that nobody has submitted."""
    submitted = story.task.facts.submitted
    if not any(one.forward for need in submitted.spec.depends_on for one in _each(need)):
        return {}
    blocked = next(event for event in (one.event() for one in story.events) if isinstance(event, e.TaskBlocked))
    until, looked_for = deadlines(blocked), {*open_needs(story, ends)}
    names = [one.task_id for one in submitted.depends_on if one.stream in looked_for and one.task_id not in stands]
    return {name: until[name] for name in names if name in until}


def _not_submitted(story: Story, need: DependsOn, until: datetime, now: datetime) -> Reason:
    name = need.task_id
    facts = {"task_id": name, "needs": need.condition, "until": text(until)}
    if until <= now:
        return Reason("to-be-expired", f"nobody has submitted {name} by {text(until)}: it expires at once", facts)
    late = f"submit it before {text(until)}, or {story.task.task_id} expires"
    return Reason("not-submitted", f"{name} {MUST[need.condition]}, and nobody has submitted it yet; {late}", facts)


def _unmet(story: Story, ends: Mapping[str, str]) -> list[DependsOn | AtLeast]:
    alone: dict[str, DependsOn] = {}
    sets: list[AtLeast] = []
    for need in story.task.facts.submitted.spec.depends_on:
        match need:
            case DependsOn(task_id=name) if ends.get(name) not in MEETS[need.condition]:
                alone.setdefault(name, need)
            case AtLeast(at_least=at_least) if standing(requirements([need])[0], ends).met < at_least:
                sets.append(need)
            case _:
                pass
    return [*alone.values(), *sets]


def _one(need: DependsOn, stands: Mapping[str, str]) -> Reason:
    status = stands.get(need.task_id)
    facts = {"task_id": need.task_id, "needs": need.condition} | ({"status": status} if status else {})
    return Reason("dependency", f"{_standing(need.task_id, stands)} {MUST[need.condition]}", facts)


def _set(need: AtLeast, ends: Mapping[str, str], stands: Mapping[str, str]) -> Reason:
    met = standing(requirements([need])[0], ends).met
    still_open = [name for name in dict.fromkeys(_names(need)) if name not in ends]
    shown = [_standing(name, stands) for name in still_open[:SHOWN]]
    more = f" +{len(still_open) - SHOWN}" if len(still_open) > SHOWN else ""
    of = f"{need.at_least} of {len(set(_names(need)))} must end as they should, {met} have"
    facts = {"at_least": need.at_least, "met": met, "open": len(still_open), "of": still_open[:SHOWN]}
    return Reason("dependencies", f"{of}; open: {', '.join(shown)}{more}", facts)


MUST: Mapping[When, str] = {
    "succeeded": "must succeed",
    "failed": "must fail",
    "finished": "must succeed or fail",
    "always": "must end",
}


def _standing(name: str, stands: Mapping[str, str]) -> str:
    return f"{name} ({stands[name]})" if name in stands else name


def _ended(status: str) -> str:
    return status if status in {"succeeded", "failed", "expired"} else f"been {status}"


def _names(need: DependsOn | AtLeast) -> list[str]:
    return [one.task_id for one in _each(need)]


def _each(need: DependsOn | AtLeast) -> Sequence[DependsOn]:
    return [need] if isinstance(need, DependsOn) else need.of


def _back(story: Story) -> Iterator[e.Event]:
    return (recorded.event() for recorded in reversed(story.events))
