"""That nothing ran twice, by the log and by the engine's own account: a second report of a start leaves no event."""

from collections import Counter

from infra.engine_watch import Sightings
from tests.support.platform import ENDS, Platform

REMOVAL_SECONDS = 30


def assert_each_ran_once(tally: Platform, sightings: Sightings, *tasks: str) -> None:
    """Each task, all of them ended, had one run, one end, and one start of one container."""
    containers: dict[str, str] = {}
    for task in tasks:
        types = Counter(event.type for event in tally.events(task))
        assert types["task.run-started.v1"] == 1, tally.types(task)
        assert sum(types[end] for end in ENDS) == 1, tally.types(task)
        started = tally.wait_for("task.run-started.v1", task).data
        containers[started["run_id"]] = started["container_id"]
    streams = {str(tally.events(task)[0].stream) for task in tasks}
    left = sightings.wait_removed(set(containers.values()), REMOVAL_SECONDS)
    assert not left, f"containers not removed: {left}"
    starts = sightings.starts_of(streams)
    assert starts == Counter(containers.keys()), f"containers started, by run: {dict(starts)}"
