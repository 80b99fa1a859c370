"""What a worker does with a task that it has. Pure."""

from typing import Any

from domain.reasons import Hold, Reason, Story, by_whom, text
from domain.task_states import Cancelling, Held, Leased, TimingOut


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
            return Reason("cancelling", f"cancelled by {by_whom(by)}{why}; {who} is being stopped", facts | said)
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
