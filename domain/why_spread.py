"""What a task waits for that has become children. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.reasons import Reason, Story, by_whom
from domain.task_states import Recalled, Spread


@dataclass(frozen=True, slots=True)
class Children:
    """How the children of a task stand: how many are submitted and running, and how those ended that have."""

    submitted: int
    running: int = 0
    ends: Mapping[str, int] = field(default_factory=dict[str, int])


def spread(story: Story, state: Spread | Recalled, children: Children) -> list[Reason]:
    """What is left of its children."""
    over = sum(children.ends.values())
    ends = f" ({', '.join(f'{n} {how}' for how, n in sorted(children.ends.items()))})" if over else ""
    facts = {
        "children": state.facts.children,
        "submitted": children.submitted,
        "running": children.running,
        "ended": over,
        "ends": dict(sorted(children.ends.items())),
    }
    out = f"see those left with: tally ls parent={state.task_id} status=open"
    stand = f"{children.running} run, {over} have ended{ends}"
    if isinstance(state, Recalled):
        why = f": {state.reason}" if state.reason else ""
        said = {"by": state.by} | ({"reason": state.reason} if state.reason else {})
        detail = f"cancelled by {by_whom(state.by)}{why}; of {children.submitted} children {stand}; {out}"
        return [Reason("children-cancelling", detail, facts | said)]
    detail = f"{children.submitted} of {state.facts.children} children are submitted, {stand}; {out}"
    return [Reason("children", detail, facts)]
