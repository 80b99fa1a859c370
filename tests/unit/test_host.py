"""What a worker tells of its host."""

import time

from adapters.host import boot_clock, host_load


def test_the_clock_of_a_host_runs_on_and_counts_from_its_boot() -> None:
    awake = time.monotonic()

    assert awake <= boot_clock() <= boot_clock()


def test_the_load_of_a_host_is_told_in_shares() -> None:
    load = host_load()

    known = [share for share in (load.cpu, load.memory, load.disk) if share is not None]
    assert len(known) >= 2
    assert all(0 <= share <= 1 for share in known)
