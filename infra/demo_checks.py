"""What the demo saw happen, and whether it adds up."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.verifying import Verified
from domain.events import ENDS
from infra.dev.otlp_receiver import Tree


@dataclass(slots=True)
class Seen:
    """`started`: container id -> task, by the log. By the engine: `inspected`, what it said of each; `starts`.
    `explained`: the codes of why a task waited."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    started: dict[str, str] = field(default_factory=dict[str, str])
    inspected: dict[str, str] = field(default_factory=dict[str, str])
    starts: Counter[str] = field(default_factory=Counter[str])
    explained: list[str] = field(default_factory=list[str])

    @property
    def failed(self) -> int:
        """Tasks that did not succeed."""
        return len(self.of("task.submitted.v1")) - len(self.of("task.succeeded.v1"))

    @property
    def ended(self) -> int:
        """Tasks that have ended."""
        return sum(event["type"] in ENDS for event in self.events)

    @property
    def trace_id(self) -> str:
        """The trace that the publisher began."""
        (submitted,) = self.of("workflow.submitted.v1")
        return str(submitted["traceparent"]).split("-")[1]

    @property
    def position(self) -> int:
        """Of the last event."""
        return int(self.events[-1]["position"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of this type."""
        return [event for event in self.events if event["type"] == kind]


def task_problems(seen: Seen) -> list[str]:
    """Unless every task succeeded."""
    return [f"{seen.failed} tasks did not succeed"] if seen.failed else []


def order_problems(seen: Seen) -> list[str]:
    """Unless a task got another's result, a schedule has fired, what waited was explained by what it depends on, and no
    two tasks were on the quay at once."""
    problems = [f"no {kind} was seen" for kind in ("task.filled.v1", "schedule.fired.v1") if not seen.of(kind)]
    problems += [] if "dependency" in seen.explained else [f"what waits was explained by {seen.explained}"]
    names = {event["stream"]: event["data"]["spec"] for event in seen.of("task.submitted.v1")}
    keyed = {stream for stream, spec in names.items() if spec.get("concurrency")}
    held: set[str] = set()
    for event in seen.events:
        if event["stream"] in keyed and event["type"] == "task.run-leased.v1":
            held.add(event["stream"])
            problems += ["two tasks were on the quay at once"] if len(held) > 1 else []
        elif event["type"] in ENDS:
            held.discard(event["stream"])
    return problems


def container_problems(seen: Seen) -> list[str]:
    """Unless the engine showed each container, and started it once."""
    unseen = [f"{_named(one, seen)} was never seen on the engine" for one in seen.started if one not in seen.inspected]
    again = [
        f"{_named(one, seen)} was started {seen.starts[one]} times"
        for one in seen.started
        if one in seen.inspected and seen.starts[one] != 1
    ]
    return unseen + again


def _named(container: str, seen: Seen) -> str:
    return f"container {container[:12]} of {seen.started[container]}"


def trace_problems(trace: Tree) -> list[str]:
    """Unless the trace is one tree."""
    problems = [] if len(trace.roots) == 1 else [f"the trace has {len(trace.roots)} roots, not one"]
    return problems + [f"the trace has a gap above {span.name} [{span.service}]" for span in trace.gaps]


def fold_problems(verified: Verified, position: int) -> list[str]:
    """Unless the views hold all up to `position`, and are the fold of the log, row by row."""
    problems = [
        f"view {view}: row {row} is not the fold of the log" for view, ids in verified.differing.items() for row in ids
    ]
    if verified.position < position:
        problems.append(f"the views are at position {verified.position}, the last event seen is at {position}")
    return problems


def report(problems: Sequence[str]) -> int:
    """Say each on stderr; the exit status."""
    for problem in problems:
        print(f"demo: {problem}", file=sys.stderr)
    return 1 if problems else 0
