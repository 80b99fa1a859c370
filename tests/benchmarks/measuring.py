"""CPU time of whole process trees, percentiles, and the line that a figure prints."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

IDLE_SECONDS = 0.15
"""Between two tasks of a latency: what the one before has left to do is done by then."""


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time used so far by these processes and all below them, the ended and reaped ones included."""
    total = 0.0
    for process in {one for root in roots for one in _tree(root)}:
        try:
            times: Any = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def wait_until(done: Callable[[], bool], what: str, seconds: float = 120, every: float = 0.02) -> None:
    """Raises TimeoutError naming `what` when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach: at most, or at least, `limit`."""

    limit: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


def report(figure: str, value: float, unit: str, goal: Goal, **more: Any) -> bool:
    """Print the figure as one JSON line. Whether the goal is met."""
    met = goal.met(value)
    line = {"figure": figure, "value": round(value, 3), "unit": unit, **more, "goal": str(goal), "met": met}
    print(json.dumps(line), flush=True)
    return met


def baseline(name: str, values: Sequence[float], ours: float) -> dict[str, Any]:
    """The baseline's part of a figure's line: its median, and our figure divided by it."""
    value = median(values)
    return {"baseline": {"name": name, "value": round(value, 3)}, "ratio": round(ours / value, 2)}
