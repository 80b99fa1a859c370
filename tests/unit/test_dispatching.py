"""Who runs what next, and why a task waits."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from typing import NoReturn
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.dispatching import Load, Waiting, Why, allowances, dispatch, last_grants, queue_key
from domain.hosts import Host, Hosts
from domain.lanes import Lane, Needs, Share
from domain.lease_clock import LEASE_TERM
from domain.limit import Quota
from domain.placing import Rate
from domain.task import Grant
from tests.support.ended_tasks import NOW
from tests.support.timing import timed

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


LANE = Lane("default", "default", "noop")
FREE = Load()


def waiting(n: int, priority: int = 5, ago: float = 0, lane: Lane = LANE) -> Waiting:
    """The n-th task to come, `ago` minutes ago."""
    return Waiting(queue_key(NOW - timedelta(minutes=ago), priority), n, UUID(int=n), lane)


def places(tasks: list[Waiting], *hosts: Host) -> list[tuple[int, str]]:
    return [(task.position, grant.worker_id) for task, grant in dispatch(tasks, hosts, FREE, NOW, CLOCK).grants]


def given_out(tasks: list[Waiting], load: Load, *hosts: Host) -> list[int]:
    return [task.position for task, _ in dispatch(tasks, hosts, load, NOW, CLOCK).grants]


def test_a_grant_names_the_last_beat_and_its_age() -> None:
    ((_, grant),) = dispatch([waiting(1)], [W1], FREE, NOW, CLOCK).grants

    assert grant == Grant("W1", 3, beat=812, age=timedelta(seconds=1.4))


def test_a_beat_from_the_future_has_no_age() -> None:
    ahead = replace(W1, received_at=NOW + timedelta(seconds=5))

    ((_, grant),) = dispatch([waiting(1)], [ahead], FREE, NOW, CLOCK).grants

    assert grant.age == timedelta(0)


def test_a_step_of_the_database_clock_makes_no_beat_older_than_the_lease_clock_says() -> None:
    ((_, grant),) = dispatch([waiting(1)], [W1], FREE, NOW + timedelta(hours=1), CLOCK).grants

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
    given = dispatch([waiting(1)], [W1, W2], FREE, NOW, CLOCK)

    chosen = last_grants(given, NOW)

    assert places([waiting(2)], replace(W1, granted_at=chosen["W1"]), W2) == [(2, "W2")]


def test_a_lane_whose_tasks_wait_says_why() -> None:
    silent = replace(W1, pool="quiet", heard=CLOCK - LEASE_TERM)
    full = replace(W2, held=2, labels={"gpu": "a100"})
    draining = replace(W1, worker_id="W3", pool="old", draining=True)
    spare = replace(full, worker_id="W4", held=0, draining=True)
    whys = {
        LANE: Why("no-slot"),
        replace(LANE, labels=(("gpu", "a100"),)): Why("no-slot"),
        replace(LANE, labels=(("gpu", "h100"),)): Why("no-label"),
        replace(LANE, worker="W2"): Why("no-slot"),
        replace(LANE, worker="W9"): Why("worker-gone"),
        replace(LANE, pool="quiet"): Why("worker-silent"),
        replace(LANE, pool="old"): Why("worker-draining"),
        replace(LANE, worker="W3", pool="old"): Why("worker-draining"),
        replace(LANE, labels=(("gpu", "a100"),), pool="old"): Why("no-label"),
        replace(LANE, pool="gpu"): Why("no-worker"),
        replace(LANE, executor="swarm"): Why("no-worker"),
    }

    hosts = [silent, full, draining, spare]
    given = dispatch([waiting(n, lane=lane) for n, lane in enumerate(whys)], hosts, FREE, NOW, CLOCK)

    assert (given.grants, given.closed) == ([], whys)


def test_a_draining_worker_is_given_nothing_and_counts_for_no_room() -> None:
    draining = replace(W1, slots=9, draining=True)

    assert places([waiting(n) for n in (1, 2, 3)], draining, W2) == [(1, "W2"), (2, "W2")]
    assert allowances([LANE], [draining, W2], FREE, CLOCK) == {LANE: 2}
    assert allowances([LANE], [draining], FREE, CLOCK) == {}


def test_a_task_goes_to_a_worker_that_has_all_its_labels() -> None:
    fit = replace(W2, labels={"gpu": "a100", "zone": "b", "disk": "ssd"})
    needs = replace(LANE, labels=(("disk", "ssd"), ("gpu", "a100")))

    assert places([waiting(n, lane=needs) for n in (1, 2, 3)], replace(W1, labels={"gpu": "a100"}), fit) == [
        (1, "W2"),
        (2, "W2"),
    ]


def test_a_task_that_wants_the_worker_of_another_waits_for_that_one() -> None:
    assert places([waiting(1, lane=replace(LANE, worker="W2"))], W1, W2) == [(1, "W2")]
    assert places([waiting(1, lane=replace(LANE, worker="W2"))], W1, replace(W2, held=2)) == []


def test_the_namespace_with_the_fewest_slots_of_the_pool_goes_first_whatever_the_priority() -> None:
    other = replace(LANE, namespace="other")
    tasks = [waiting(n, priority=10) for n in (1, 2, 3, 4)] + [waiting(n, lane=other) for n in (5, 6, 7)]

    assert given_out(tasks, FREE, replace(W1, slots=5)) == [1, 5, 2, 6, 3]
    assert given_out(tasks, Load({LANE: 2}), replace(W1, slots=5, held=2)) == [5, 6, 1]
    elsewhere = {replace(LANE, pool="gpu"): 7}
    assert given_out(tasks, Load(elsewhere), replace(W1, slots=2)) == [1, 5]


def test_a_limit_counts_the_open_leases_of_every_lane_in_its_scope() -> None:
    wide, docker = replace(W1, slots=9), replace(LANE, executor="docker")
    tasks = [waiting(1), waiting(2, lane=docker), waiting(3), waiting(4, lane=docker)]
    held = {docker: 1, replace(LANE, namespace="other"): 3}

    for scope, most, expected in (
        ("namespace:default", 3, [1, 2]),
        ("namespace:default", 1, []),
        ("namespace:default", 0, []),
        ("pool:default", 5, [1]),
        ("pool:gpu", 0, [1, 2, 3, 4]),
    ):
        load = Load(held, {scope: Quota(most)})
        assert given_out(tasks, load, wide) == expected
        closed = {LANE: Why("limit", scope), docker: Why("limit", scope)} if len(expected) < 4 else {}
        assert dispatch(tasks, [wide], load, NOW, CLOCK).closed == closed


def test_a_key_is_limited_by_what_its_tasks_say_unless_it_was_set() -> None:
    keyed = replace(LANE, shares=(Share("key:default/report", 2),))
    tasks = [waiting(1, lane=keyed), waiting(2, lane=keyed), waiting(3, lane=keyed), waiting(4)]
    wide = replace(W1, slots=9)

    assert given_out(tasks, FREE, wide) == [1, 2, 4]
    assert given_out(tasks, Load({keyed: 1}), wide) == [1, 4]
    assert given_out(tasks, Load(quotas={"key:default/report": Quota(3)}), wide) == [1, 2, 3, 4]
    assert given_out(tasks, Load(quotas={"key:default/report": Quota(1)}), wide) == [1, 4]
    assert given_out(tasks, Load(quotas={"key:default/report": Quota(rate=RATE)}), wide) == [1, 2, 4]


RATE = Rate(starts=3, per=timedelta(minutes=1))


def test_a_rate_lets_so_many_start_as_have_not_started_in_the_span() -> None:
    tasks, wide = [waiting(n) for n in range(1, 6)], replace(W1, slots=9)
    scope = "namespace:default"

    assert given_out(tasks, Load(quotas={scope: Quota(rate=RATE)}), wide) == [1, 2, 3]
    assert given_out(tasks, Load({LANE: 5}, {scope: Quota(rate=RATE, started=2)}), wide) == [1]
    used_up = Load(quotas={scope: Quota(rate=RATE, started=3)})
    assert dispatch(tasks, [wide], used_up, NOW, CLOCK).closed == {LANE: Why("rate", scope)}


def test_a_lane_that_waits_for_its_limit_holds_up_no_other() -> None:
    keyed = replace(LANE, shares=(Share("key:default/report", 1),))
    first = [waiting(n, priority=10, lane=keyed) for n in range(1, 50)]

    assert given_out([*first, waiting(99)], FREE, replace(W1, slots=9)) == [1, 99]


def test_ten_thousand_tasks_are_given_out_to_a_hundred_workers_in_a_tenth_of_a_second() -> None:
    lanes = [replace(LANE, namespace=f"n{n}", shares=(Share(f"key:n{n}/k", 7),) if n % 2 else ()) for n in range(20)]
    tasks = [waiting(n, priority=1 + n % 10, lane=lanes[n % 20]) for n in range(10_000)]
    hosts = [replace(W1, worker_id=f"W{n}", slots=4) for n in range(100)]

    given, took = timed(lambda: dispatch(tasks, hosts, FREE, NOW, CLOCK))

    assert len(given.grants) == 400
    assert took < 0.1


def test_a_thousand_lanes_cost_a_round_little() -> None:
    lanes = [replace(LANE, shares=(Share(f"key:default/{n}", 1),)) for n in range(1000)]
    tasks = [waiting(n, lane=lane) for n, lane in enumerate(lanes)]
    hosts = [replace(W1, worker_id=f"W{n}", slots=4) for n in range(100)]

    (most, given), took = timed(
        lambda: (allowances(lanes, hosts, FREE, CLOCK), dispatch(tasks, hosts, FREE, NOW, CLOCK))
    )

    assert (len(most), len(given.grants), len(given.closed)) == (1000, 400, 600)
    assert took < 0.1


def test_a_thousand_lanes_that_each_need_a_worker_of_their_own_cost_a_round_little() -> None:
    hosts = [replace(W1, worker_id=f"W{n}", labels={"host": str(n), "zone": "a"}) for n in range(1000)]
    labelled = [replace(LANE, labels=(("host", str(n)), ("zone", "a"))) for n in range(500)]
    bound = [replace(LANE, worker=f"W{n}") for n in range(500, 1000)]
    tasks = [waiting(n, lane=lane) for n, lane in enumerate([*labelled, *bound])]

    (most, given), took = timed(
        lambda: (
            allowances([task.lane for task in tasks], hosts, FREE, CLOCK),
            dispatch(tasks, hosts, FREE, NOW, CLOCK),
        )
    )

    assert (len(most), [grant.worker_id for _, grant in given.grants]) == (1000, [f"W{n}" for n in range(1000)])
    assert took < 0.2


class Unread(dict[str, str]):
    """Labels that nobody may go through."""

    def items(self) -> NoReturn:
        raise AssertionError("gone through")


def test_labels_that_no_lane_asks_for_are_not_gone_through() -> None:
    dispatched = dispatch([waiting(1)], [replace(W1, labels=Unread(host="1"))], FREE, NOW, CLOCK)

    assert [grant.worker_id for _, grant in dispatched.grants] == ["W1"]


POOLS, EXECUTORS = st.sampled_from(["default", "gpu"]), st.sampled_from(["docker", "noop"])
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"))


@st.composite
def some_host(draw: st.DrawFn) -> Host:
    name, executors = f"W{draw(st.integers(1, 5))}", draw(st.frozensets(EXECUTORS))
    return replace(W1, worker_id=name, pool=draw(POOLS), labels=draw(LABELS), executors=executors)


@st.composite
def some_needs(draw: st.DrawFn) -> Needs:
    worker = draw(st.none() | st.sampled_from(["W1", "W9"]))
    return Needs(draw(POOLS), draw(EXECUTORS), tuple(sorted(draw(LABELS).items())), worker)


@given(st.lists(some_host(), max_size=6), some_needs())
def test_those_that_serve_are_found_whatever_is_needed(hosts: list[Host], needs: Needs) -> None:
    assert Hosts(hosts).serving(needs) == [host for host in hosts if host.serves(needs)]


def test_a_worker_heard_within_a_lease_term_is_present() -> None:
    assert replace(W1, heard=CLOCK - LEASE_TERM + 0.1).free(CLOCK) == 2
    assert replace(W1, heard=CLOCK - LEASE_TERM).free(CLOCK) == 0


def test_a_worker_that_shrank_below_what_it_holds_has_no_free_slots() -> None:
    assert replace(W1, slots=1, held=2).free(CLOCK) == 0


def test_so_many_of_a_lane_may_be_given_out_as_there_is_room_for_and_its_limits_allow() -> None:
    narrow = replace(W2, executors=frozenset({"docker"}), held=1)
    docker, keyed = replace(LANE, executor="docker"), replace(LANE, shares=(Share("key:default/report", 2),))
    load = Load({docker: 1}, {"pool:default": Quota(4), "key:default/report": Quota(1)})

    most = allowances([LANE, docker, keyed, replace(LANE, pool="gpu")], [W1, narrow], load, CLOCK)

    assert most == {LANE: 2, docker: 3, keyed: 1}


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
        labels=st.sampled_from([{}, {"zone": "a"}]),
    ),
    unique_by=attrgetter("worker_id"),
)
TASKS = st.lists(
    st.builds(
        waiting,
        st.integers(1, 40),
        st.integers(1, 10),
        st.floats(0, 100),
        st.builds(
            Lane,
            st.sampled_from(["default", "other"]),
            st.sampled_from(["default", "gpu"]),
            st.sampled_from(["noop", "docker"]),
            labels=st.sampled_from([(), (("zone", "a"),)]),
            shares=st.sampled_from([(), (Share("key:default/k", 1),), (Share("key:default/k", 3),)]),
        ),
    ),
    unique_by=attrgetter("position"),
)


LOADS = st.builds(
    Load,
    st.dictionaries(st.sampled_from([LANE, replace(LANE, namespace="other")]), st.integers(1, 3)),
    st.dictionaries(
        st.sampled_from(["namespace:default", "pool:gpu", "key:default/k"]),
        st.builds(Quota, st.one_of(st.none(), st.integers(0, 4)), st.sampled_from([None, RATE]), st.integers(0, 3)),
    ),
)


@given(TASKS, HOSTS, LOADS)
def test_each_task_is_granted_at_most_once_to_a_worker_that_serves_it_no_slot_twice_and_no_limit_is_passed(
    tasks: list[Waiting], hosts: list[Host], load: Load
) -> None:
    given = dispatch(tasks, hosts, load, NOW, CLOCK)

    by_id = {host.worker_id: host for host in hosts}
    granted = [task for task, _ in given.grants]
    assert len({task.task for task in granted}) == len(granted)
    assert {task.lane for task in tasks if task not in granted} == set(given.closed)
    for task, grant in given.grants:
        assert by_id[grant.worker_id].serves(task.lane.needs)
    for worker_id, count in Counter(grant.worker_id for _, grant in given.grants).items():
        assert count <= by_id[worker_id].free(CLOCK)
    started = Counter(scope for task in granted for scope in task.lane.scopes)
    held = Counter(dict.fromkeys(load.quotas, 0))
    for lane, count in load.held.items():
        held.update(dict.fromkeys(lane.scopes, count))
    for scope, quota in load.quotas.items():
        if started[scope] and quota.max_running is not None:
            assert held[scope] + started[scope] <= quota.max_running
        if started[scope] and quota.rate is not None:
            assert quota.started + started[scope] <= quota.rate.starts


@given(TASKS, HOSTS, LOADS)
def test_a_lane_is_closed_only_when_none_of_its_tasks_could_be_given_out(
    tasks: list[Waiting], hosts: list[Host], load: Load
) -> None:
    given = dispatch(tasks, hosts, load, NOW, CLOCK)

    taken = Counter(grant.worker_id for _, grant in given.grants)
    after = [replace(host, held=host.held + taken[host.worker_id]) for host in hosts]
    now_held = Counter(load.held) + Counter(task.lane for task, _ in given.grants)
    started = Counter(scope for task, _ in given.grants for scope in task.lane.scopes)
    quotas = {scope: replace(one, started=one.started + started[scope]) for scope, one in load.quotas.items()}
    assert allowances(given.closed, after, Load(now_held, quotas), CLOCK) == {}


@given(TASKS, HOSTS, LOADS)
def test_only_the_tasks_that_there_is_room_for_need_to_be_looked_at(
    tasks: list[Waiting], hosts: list[Host], load: Load
) -> None:
    most = allowances({task.lane for task in tasks}, hosts, load, CLOCK)
    first: list[Waiting] = []
    for lane, count in most.items():
        first += sorted(task for task in tasks if task.lane == lane)[:count]

    assert dispatch(first, hosts, load, NOW, CLOCK).grants == dispatch(tasks, hosts, load, NOW, CLOCK).grants


@given(st.integers(1, 20), st.integers(1, 4), st.data())
def test_equal_workers_end_within_a_fifth_of_each_other(rounds: int, workers: int, data: st.DataObject) -> None:
    """Tasks come in groups of any size and end at once."""
    hosts = {f"W{n}": replace(W1, worker_id=f"W{n}", slots=8) for n in range(workers)}
    shares: Counter[str] = Counter()
    for n in range(rounds):
        now = NOW + timedelta(seconds=n)
        tasks = [waiting(m) for m in range(data.draw(st.integers(0, 8 * workers)))]
        given_now = dispatch(tasks, list(hosts.values()), FREE, now, CLOCK)
        shares.update(grant.worker_id for _, grant in given_now.grants)
        for worker_id, at in last_grants(given_now, now).items():
            hosts[worker_id] = replace(hosts[worker_id], granted_at=at)

    counts = [shares[worker_id] for worker_id in hosts]
    assert max(counts) - min(counts) <= 1
