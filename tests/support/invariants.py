"""What holds after any fault: nothing ran twice, and the views are what the log says."""

from collections import Counter

from adapters.verifying import verify
from domain.views import VIEWS
from infra.engine_watch import Sightings
from tests.support.platform import ENDS, Platform

REMOVAL_SECONDS = 30


def assert_each_ran_once(tally: Platform, sightings: Sightings, *tasks: str) -> None:
    """Each task, all of them ended, had one run, one end, and one start of one container.

    The engine's own account counts: a second report of a start leaves no event.
    """
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


def assert_views_are_the_fold(tally: Platform) -> None:
    """The projector comes to the end of the log by itself, and each row is the fold of it."""
    last = tally.events()[-1].position
    tally.wait_caught_up("projector", seconds=60)

    verified = verify(tally.system.addresses.as_role("tally_read"), list(VIEWS))

    assert verified.position >= last
    assert verified.equal, verified.differing
