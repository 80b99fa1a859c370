"""Why a task has ended. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from domain import events as e
from domain.reasons import ENDED, Reason, Story, by_whom, text
from domain.recorded import Recorded
from domain.retrying import EXHAUSTED
from domain.spreading import FAILED as CHILDREN_FAILED

Streams = Mapping[UUID, Sequence[Recorded]]
DEEPEST = 10
"""So many skipped tasks are followed to the one that did not succeed."""


def blamed(events: Sequence[Recorded]) -> UUID | None:
    """The stream that tells more of an end: of the task for which this one was skipped, or of the workflow in which it
    was cancelled."""
    submitted = events[0].event()
    end = _end(events)
    if not isinstance(submitted, e.TaskSubmitted) or end is None:
        return None
    match end.event():
        case e.TaskSkipped(because=because):
            return next((one.stream for one in submitted.depends_on if one.task_id == because), None)
        case e.TaskCancelled():
            return submitted.child_of.stream if submitted.child_of else submitted.workflow
        case _:
            return None


def ended(story: Story, streams: Streams) -> list[Reason]:
    """Why the task has ended. `streams`: that it blames, and those that they do."""
    end = _end(story.events)
    assert end is not None, "an ended task has an end"
    match end.event():
        case e.TaskSucceeded(cached_from=first) as left if first is not None:
            return [_cached(story, left, first)]
        case e.TaskSucceeded(result=result) if story.task.facts.submitted.spec.for_each is not None:
            return [_children_succeeded(result)]
        case e.TaskSucceeded(runs=runs, exit_code=exit_code):
            stood_in = " in place of those that failed, as the fallback" if story.task.facts.fallback else ""
            return [Reason("succeeded", f"run {runs} succeeded{stood_in}", _code(runs, exit_code))]
        case e.TaskFailed() as failed:
            return [_failed(story, failed)]
        case e.TaskQuarantined(reason=reason, runs=runs):
            facts = {"reason": reason, "runs": runs, "losses": story.task.facts.losses}
            out = "find out whether it takes workers down, then: tally retry"
            lost = sum(one.type == e.RunLost.TYPE for one in story.events)
            many = "one run was lost" if lost == 1 else f"{lost} runs were lost, the last one"
            return [Reason("quarantined", f"{many}: {reason}; {out} {_name(story)}", facts)]
        case e.TaskCancelled() as cancelled:
            return [_cancelled(story, cancelled, end, streams)]
        case e.TaskSkipped(because=because):
            return [_skipped(story, because, streams)]
        case e.TaskExpired(reason="queue-timeout", runs=runs):
            timeout = story.task.facts.submitted.timeouts.queue
            longest = f"longer than {timeout.total_seconds():g} s" if timeout else "for too long"
            return [Reason("queue-timeout", f"it was in the queue {longest}; tally retry {_name(story)}", _runs(runs))]
        case e.TaskExpired(reason="forward-deadline", because=because):
            late = f"nobody had submitted {because} by then; submit {because} first, and then {_name(story)} again"
            return [Reason("forward-deadline", late, {"because": because})]
        case e.TaskExpired(reason=reason, runs=runs):
            late = f"it still waited when none of its runs was to begin any more ({reason})"
            return [Reason(reason, late, _runs(runs))]
        case other:
            raise ValueError(f"{other.TYPE} is no end of a task")


def _cached(story: Story, left: e.TaskSucceeded, first: e.CachedFrom) -> Reason:
    facts = {**_code(left.runs, left.exit_code), "task_id": first.task_id, "id": str(first.stream)}
    ended_at = text(first.ended_at)
    said = f"the result is that of {first.task_id}, which ended at {ended_at}; have it run with: tally retry"
    return Reason("cached", f"{said} {_name(story)}", {**facts, "ended_at": ended_at})


def _children_succeeded(counts: Mapping[str, int]) -> Reason:
    count = counts["children"]
    return Reason(
        "succeeded", f"all of its {count} children succeeded" if count else "there were no items", {"ends": counts}
    )


def _failed(story: Story, failed: e.TaskFailed) -> Reason:
    facts: dict[str, Any] = {"reason": failed.reason, **_code(failed.runs, failed.exit_code)}
    code = failed.reason if failed.reason in ENDED else "failed"
    if failed.reason == CHILDREN_FAILED:
        how = next((end for end in ("failed", "quarantined", "expired") if failed.result[end]), "cancelled")
        out = f"see them with: tally ls parent={_name(story)} status={how}"
        return Reason(code, f"{failed.detail}; {out}", {**facts, "ends": failed.result})
    if failed.detail is not None:
        return Reason(code, failed.detail, facts)
    last = next((one for one in _back(story.events) if isinstance(one, e.RunFailed | e.RunLost)), None)
    if isinstance(last, e.RunFailed):
        facts |= {"run_reason": last.reason}
        facts |= {"error": last.error.detail} if last.error and last.error.detail else {}
    lost = "lost with its worker"
    what = _how(last.reason, failed.exit_code) if isinstance(last, e.RunFailed) else lost if last else failed.reason
    why = f": {facts['error']}" if "error" in facts else ""
    seen = "" if failed.verified else "; its container was not seen gone, and may run on"
    if story.task.facts.fallback:
        return Reason("fallback-failed", f"run {failed.runs}, the fallback: {what}{why}{seen}", facts)
    if failed.reason == EXHAUSTED:
        retry = story.task.facts.submitted.spec.retry
        facts |= {"max_runs": retry.max_runs} if retry else {}
        failures = story.task.facts.failures + 1
        detail = f"{failures} runs failed, as many as may; the last one, run {failed.runs}: {what}{why}{seen}"
        return Reason(EXHAUSTED, detail, facts)
    return Reason(code, f"run {failed.runs}: {what}{why}{seen}", facts)


def _how(reason: str, exit_code: int | None) -> str:
    return reason if exit_code is None else f"{reason} (exit code {exit_code})"


def _cancelled(story: Story, cancelled: e.TaskCancelled, end: Recorded, streams: Streams) -> Reason:
    begun = next((one for one in reversed(story.events) if one.type == e.TaskCancelling.TYPE), end)
    facts: dict[str, Any] = {"by": cancelled.by, "runs": cancelled.runs, "verified": cancelled.verified}
    facts |= {"reason": cancelled.reason} if cancelled.reason else {}
    why = f": {cancelled.reason}" if cancelled.reason else ""
    seen = "" if cancelled.verified else "; its run could not be asked, and may run on"
    if cancelled.by == "dispatcher":
        return Reason("crowded-out", f"the place of its key went to another{why}{seen}", facts)
    if cancelled.by == "timekeeper":
        return Reason("replaced", f"its schedule fired again{why}{seen}", facts)
    for whole in _cancellations(story, begun, streams):
        if (whole.by, whole.reason) != (cancelled.by, cancelled.reason):
            continue
        if isinstance(whole, e.TaskRecalled):
            said = f"{whole.task_id}, whose child it is, was cancelled by {by_whom(cancelled.by)}{why}{seen}"
            return Reason("parent-cancelled", said, {**facts, "parent": whole.task_id})
        facts["workflow_id"] = whole.workflow_id
        if whole.because is not None:
            said = f"{whole.because} failed, and its workflow {whole.workflow_id} fails fast{seen}"
            return Reason("fail-fast", said, {**facts, "because": whole.because})
        said = f"workflow {whole.workflow_id} was cancelled by {cancelled.by}{why}{seen}"
        return Reason("workflow-cancelled", said, facts)
    return Reason("cancelled", f"cancelled by {by_whom(cancelled.by)}{why}{seen}", facts)


def _cancellations(story: Story, begun: Recorded, streams: Streams) -> Iterator[e.WorkflowCancelled | e.TaskRecalled]:
    """Those of its workflow, or of the task whose child it is, from before it was cancelled itself."""
    submitted = story.task.facts.submitted
    whole = submitted.child_of.stream if submitted.child_of else submitted.workflow
    for recorded in streams.get(whole, ()) if whole else ():
        if recorded.type in (e.WorkflowCancelled.TYPE, e.TaskRecalled.TYPE) and recorded.position < begun.position:
            event = recorded.event()
            assert isinstance(event, e.WorkflowCancelled | e.TaskRecalled), "chosen by its type"
            yield event


def _skipped(story: Story, because: str, streams: Streams) -> Reason:
    """The chain goes to the first task that was not skipped itself, or as far as it was followed."""
    chain: list[str] = []
    events: Sequence[Recorded] = story.events
    root = None
    while (stream := blamed(events)) in streams and stream is not None and len(chain) < DEEPEST:
        events = streams[stream]
        root = _end(events)
        event = root.event() if root else None
        name = getattr(event, "task_id", because)
        reason = getattr(event, "reason", None)
        status = root.type.split(".")[1] if root else "open"
        chain.append(f"{name} {status}{f' ({reason})' if reason else ''}")
        if not isinstance(event, e.TaskSkipped):
            break
    facts: dict[str, Any] = {"because": because, "chain": chain}
    if root is not None and root.type != e.TaskSkipped.TYPE:
        facts |= {"root": _task_id(root), "root_status": root.type.split(".")[1]}
    told = " <- ".join(chain) or because
    return Reason("skipped", f"{told}: it could no longer end as {_name(story)} needs it", facts)


def _task_id(recorded: Recorded) -> str:
    return str(getattr(recorded.event(), "task_id", recorded.stream))


def _end(events: Sequence[Recorded]) -> Recorded | None:
    return next((one for one in reversed(events) if one.type in e.ENDS), None)


def _back(events: Sequence[Recorded]) -> Iterator[e.Event]:
    return (recorded.event() for recorded in reversed(events))


def _name(story: Story) -> str:
    return story.task.task_id


def _runs(runs: int) -> dict[str, Any]:
    return {"runs": runs}


def _code(runs: int, exit_code: int | None) -> dict[str, Any]:
    return {"runs": runs} | ({} if exit_code is None else {"exit_code": exit_code})
