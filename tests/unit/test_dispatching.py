"""Who runs what next, and why a task waits."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.dispatching import Host, Waiting, dispatch, last_grants, queue_key, room
from domain.lease_clock import LEASE_TERM
from domain.task import Grant
from tests.support.ended_tasks import NOW

CLOCK = 100.0
W1 = Host(
    worker_id="W1",
    generation=3,
    pool="default",
    executors=frozenset({"docker", "noop"}),
    slots=2,
    held=0,
    beat=812,
    received_at=NOW - timedelta(seconds=1.4),
    heard=CLOCK - 2,
    granted_at=NOW - timedelta(hours=1),
)
W2 = replace(W1, worker_id="W2", granted_at=NOW - timedelta(minutes=1))


def waiting(n: int, priority: int = 5, pool: str = "default", executor: str = "noop", ago: float = 0) -> Waiting:
    """The n-th task to come, `ago` minutes ago."""
    return Waiting(queue_key(NOW - timedelta(minutes=ago), priority), n, UUID(int=n), pool, executor)


def places(tasks: list[Waiting], *hosts: Host) -> list[tuple[int, str]]:
    return [(task.position, grant.worker_id) for task, grant in dispatch(tasks, hosts, NOW, CLOCK).grants]


def test_a_grant_names_the_last_beat_and_its_age() -> None:
    ((_, grant),) = dispatch([waiting(1)], [W1], NOW, CLOCK).grants

    assert grant == Grant("W1", 3, beat=812, age=timedelta(seconds=1.4))


def test_a_beat_from_the_future_has_no_age() -> None:
    ahead = replace(W1, received_at=NOW + timedelta(seconds=5))

    ((_, grant),) = dispatch([waiting(1)], [ahead], NOW, CLOCK).grants

    assert grant.age == timedelta(0)


def test_a_step_of_the_database_clock_makes_no_beat_older_than_the_lease_clock_says() -> None:
    ((_, grant),) = dispatch([waiting(1)], [W1], NOW + timedelta(hours=1), CLOCK).grants

    assert grant.age == timedelta(seconds=2)


def test_among_equals_the_first_to_come_goes_first() -> None:
    assert places([waiting(3), waiting(1), waiting(2)], W1) == [(1, "W1"), (2, "W1")]


def test_a_higher_priority_goes_first() -> None:
    assert places([waiting(1, 5), waiting(2, 10), waiting(3, 6)], W1) == [(2, "W1"), (3, "W1")]


def test_a_step_of_priority_is_worth_ten_minutes_of_waiting() -> None:
    assert waiting(1, priority=5, ago=10.1) < waiting(2, priority=6)
    assert waiting(1, priority=5, ago=9.9) > waiting(2, priority=6)


def test_the_least_used_worker_is_chosen_by_the_share_of_its_slots() -> None:
    busy, large = replace(W1, held=1), replace(W2, slots=8, held=3)

    assert places([waiting(1), waiting(2), waiting(3)], busy, large) == [(1, "W2"), (2, "W1"), (3, "W2")]


def test_among_idle_workers_the_one_that_has_waited_longest_is_chosen() -> None:
    assert places([waiting(1)], W1, W2) == [(1, "W1")]
    given = dispatch([waiting(1)], [W1, W2], NOW, CLOCK)

    chosen = last_grants(given, NOW)

    assert places([waiting(2)], replace(W1, granted_at=chosen["W1"]), W2) == [(2, "W2")]


def test_a_task_that_waits_says_why() -> None:
    silent = replace(W1, pool="quiet", heard=CLOCK - LEASE_TERM)
    full = replace(W2, held=2)
    tasks = [waiting(1), waiting(2, pool="quiet"), waiting(3, pool="gpu"), waiting(4, executor="swarm")]

    waits = {task.position: why for task, why in dispatch(tasks, [silent, full], NOW, CLOCK).waits}

    assert waits == {1: "no-slot", 2: "worker-silent", 3: "no-worker", 4: "no-worker"}


def test_a_worker_heard_within_a_lease_term_is_present() -> None:
    assert replace(W1, heard=CLOCK - LEASE_TERM + 0.1).free(CLOCK) == 2
    assert replace(W1, heard=CLOCK - LEASE_TERM).free(CLOCK) == 0


def test_a_worker_that_shrank_below_what_it_holds_has_no_free_slots() -> None:
    assert replace(W1, slots=1, held=2).free(CLOCK) == 0


def test_room_counts_a_slot_for_each_executor_it_serves() -> None:
    narrow = replace(W2, executors=frozenset({"docker"}), held=1)

    assert room([W1, narrow], CLOCK) == {("default", "docker"): 3, ("default", "noop"): 2}


HOSTS = st.lists(
    st.builds(
        replace,
        st.just(W1),
        worker_id=st.sampled_from(["A", "B", "C", "D"]),
        pool=st.sampled_from(["default", "gpu"]),
        executors=st.sampled_from([frozenset({"noop"}), frozenset({"noop", "docker"})]),
        slots=st.integers(1, 4),
        held=st.integers(0, 5),
        heard=st.sampled_from([CLOCK - 1, CLOCK - LEASE_TERM]),
    ),
    unique_by=attrgetter("worker_id"),
)
TASKS = st.lists(
    st.builds(
        waiting,
        st.integers(1, 40),
        st.integers(1, 10),
        st.sampled_from(["default", "gpu"]),
        st.sampled_from(["noop", "docker"]),
        st.floats(0, 100),
    ),
    unique_by=attrgetter("position"),
)


@given(TASKS, HOSTS)
def test_each_task_is_granted_at_most_once_to_a_worker_that_serves_it_and_no_slot_twice(
    tasks: list[Waiting], hosts: list[Host]
) -> None:
    given = dispatch(tasks, hosts, NOW, CLOCK)

    by_id = {host.worker_id: host for host in hosts}
    granted = [task for task, _ in given.grants]
    assert sorted([*granted, *(task for task, _ in given.waits)]) == sorted(tasks)
    for task, grant in given.grants:
        assert by_id[grant.worker_id].serves(task.pool, task.executor)
    for worker_id, count in Counter(grant.worker_id for _, grant in given.grants).items():
        assert count <= by_id[worker_id].free(CLOCK)


@given(TASKS, HOSTS)
def test_a_task_that_waits_has_no_free_slot_that_would_serve_it(tasks: list[Waiting], hosts: list[Host]) -> None:
    given = dispatch(tasks, hosts, NOW, CLOCK)

    taken = Counter(grant.worker_id for _, grant in given.grants)
    after = [replace(host, held=host.held + taken[host.worker_id]) for host in hosts]
    for task, _ in given.waits:
        assert not any(host.free(CLOCK) for host in after if host.serves(task.pool, task.executor))


@given(TASKS, HOSTS)
def test_only_the_tasks_that_there_is_room_for_need_to_be_looked_at(tasks: list[Waiting], hosts: list[Host]) -> None:
    free = room(hosts, CLOCK)
    first: list[Waiting] = []
    for pool, executor in free:
        same = sorted(task for task in tasks if (task.pool, task.executor) == (pool, executor))
        first += same[: free[pool, executor]]

    assert dispatch(first, hosts, NOW, CLOCK).grants == dispatch(tasks, hosts, NOW, CLOCK).grants


@given(st.integers(1, 20), st.integers(1, 4), st.data())
def test_equal_workers_end_within_a_fifth_of_each_other(rounds: int, workers: int, data: st.DataObject) -> None:
    """Tasks come in groups of any size and end at once."""
    hosts = {f"W{n}": replace(W1, worker_id=f"W{n}", slots=8) for n in range(workers)}
    shares: Counter[str] = Counter()
    for n in range(rounds):
        now = NOW + timedelta(seconds=n)
        tasks = [waiting(m) for m in range(data.draw(st.integers(0, 8 * workers)))]
        given_now = dispatch(tasks, list(hosts.values()), now, CLOCK)
        shares.update(grant.worker_id for _, grant in given_now.grants)
        for worker_id, at in last_grants(given_now, now).items():
            hosts[worker_id] = replace(hosts[worker_id], granted_at=at)

    counts = [shares[worker_id] for worker_id in hosts]
    assert max(counts) - min(counts) <= 1
