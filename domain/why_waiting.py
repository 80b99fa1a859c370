"""What a task waits for that is not queued, and what a worker does with one that it has. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from domain import events as e
from domain.dependencies import requirements, settle, standing
from domain.reasons import Hold, Reason, Story, text
from domain.specs import AtLeast, DependsOn, When
from domain.task import Skip
from domain.task_states import Blocked, Cancelling, Held, Leased, TimingOut

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
        reasons += _dependencies(story, ends, stands)
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


def _dependencies(story: Story, ends: Mapping[str, str], stands: Mapping[str, str]) -> Iterator[Reason]:
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
    for need in unmet[:SHOWN]:
        yield _one(need, stands) if isinstance(need, DependsOn) else _set(need, ends, stands)
    if (more := len(unmet) - SHOWN) > 0:
        yield Reason("more-dependencies", f"+{more} more that it depends on", {"more": more})


def _unmet(story: Story, ends: Mapping[str, str]) -> list[DependsOn | AtLeast]:
    return [
        need
        for need in dict.fromkeys(story.task.facts.submitted.spec.depends_on)
        if any(one.met < one.at_least for one in (standing(each, ends) for each in requirements([need])))
    ]


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
    return [need.task_id] if isinstance(need, DependsOn) else [one.task_id for one in need.of]


def held(story: Story, state: Held, hold: Hold | None) -> list[Reason]:
    """What becomes of a run that a worker has. `hold` None: its lease is just being closed, or not known here."""
    lease = state.lease
    facts: dict[str, Any] = {"worker_id": lease.worker_id, "run": lease.run, "run_id": str(lease.run_id)}
    who = f"run {lease.run}{' (the fallback)' if state.facts.fallback else ''} on {lease.worker_id}"
    reasons = [_holding(story, state, who, facts, hold)]
    if hold is not None and not hold.heard and (hold.accepted or not isinstance(state, Leased)):
        left = max(hold.left, 0.0)
        until = f"its run is lost in {left:.0f} s unless it is heard; look at its host, and tally worker ls"
        silent = {"worker_id": lease.worker_id, "seconds": round(left, 1)}
        reasons.append(Reason("worker-not-heard", f"{lease.worker_id} is not heard: {until}", silent))
    return reasons


def _holding(story: Story, state: Held, who: str, facts: dict[str, Any], hold: Hold | None) -> Reason:
    match state:
        case Cancelling(by=by, reason=reason):
            why = f": {reason}" if reason else ""
            said = {"by": by} | ({"reason": reason} if reason else {})
            return Reason("cancelling", f"cancelled by {by}{why}; {who} is being stopped", facts | said)
        case TimingOut():
            longest = state.facts.submitted.timeouts
            spans = f"longer than {longest.run.total_seconds():g} s; it has {longest.stop.total_seconds():g} s to end"
            return Reason("timing-out", f"{who} has run {spans}", {**facts, "grace": longest.stop.total_seconds()})
        case Leased() if hold is not None and hold.accepted:
            doing = "fetches its image" if hold.state == "pulling" else "starts it"
            return Reason("starting", f"{who}, which {doing}", facts | ({"state": hold.state} if hold.state else {}))
        case Leased():
            left = "" if hold is None else f"; offered anew in {max(hold.left, 0.0):.0f} s if nobody takes it"
            return Reason("offered", f"offered as {who}, which has not taken it yet{left}", facts)
        case _:
            return Reason("running", f"{who} since {text(story.since)}", facts | {"since": text(story.since)})


def _back(story: Story) -> Iterator[e.Event]:
    return (recorded.event() for recorded in reversed(story.events))
