"""Tasks of which it is known why they stand as they do: one for each code, and what must be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.caching import Reuse
from domain.dispatching import Load, Waiting, queue_key
from domain.explaining import Known
from domain.hosts import Host
from domain.ids import derived_id
from domain.lanes import Lane, Share
from domain.lease_clock import LEASE_TERM
from domain.limit import Quota
from domain.placing import Cache, Rate
from domain.reasons import Hold, Holder, story_of
from domain.recorded import Recorded, new_events
from domain.reports import RunError, RunFinish
from domain.retry_spec import Fallback, Retry
from domain.specs import AtLeast, Container, DependsOn, TaskSpec, Timeouts
from domain.task import Cancel, CloseLease, Decision, Expire, Free, Gather, Grant, Pause, TimeOut, decide
from domain.task_states import Task, evolve
from domain.templates import Known as Ended
from domain.why_queued import SLOTS, Place
from domain.why_spread import Children
from tests.support.ended_tasks import CAUSE, NOW, TASK
from tests.support.task_states import DONE, FAILED, GRANT, QUEUED, RUN, START

LATER = NOW + timedelta(hours=1)
CLOCK = 100.0
LANE = Lane("default", "default", "noop")
W1 = Host("W1", 3, "default", frozenset({"noop"}), 2, 0, 812, NOW, CLOCK - 2, NOW - timedelta(hours=1))
OWN = Waiting(queue_key(NOW, 5), 7, TASK, LANE)
HOLDERS = [Holder(UUID(int=n), f"h{n}") for n in (1, 2, 3)]
WORKFLOW = derived_id(TASK, "workflow")


def stream(name: str) -> UUID:
    return derived_id(TASK, name)


def recorded(own: UUID, *events: e.Event, first: int = 1) -> list[Recorded]:
    """A stream whose events follow each other by a second."""
    return [
        Recorded(
            first + n,
            new.stream,
            new.version,
            new.event.TYPE,
            new.event.body(),
            derived_id(own, f"event:{n}"),
            NOW - timedelta(seconds=len(events) - n),
            "default",
            CAUSE,
        )
        for n, new in enumerate(new_events(own, 0, "default", events, CAUSE))
    ]


def submitted(name: str = "T1", **said: Any) -> e.TaskSubmitted:
    """A task of executor noop. `workflow`: that it belongs to one."""
    workflow = said.pop("workflow", None)
    spec = TaskSpec(executor="noop", **said)
    needs = [one.task_id for need in spec.depends_on for one in (need.of if isinstance(need, AtLeast) else (need,))]
    upstream = tuple(e.Upstream(task_id=one, stream=stream(one)) for one in dict.fromkeys(needs))
    own: dict[str, Any] = {"workflow": WORKFLOW, "workflow_id": "W"} if workflow else {}
    return e.TaskSubmitted(task_id=name, spec=spec, depends_on=upstream, **own)


def history(*first: e.TaskEvent, commands: Sequence[Decision] = ()) -> list[Recorded]:
    """The first events of a task, and what these commands add."""
    events: list[e.Event] = list(first)
    state: Task | None = None
    for event in first:
        state = evolve(state, TASK, event)
    assert state is not None
    for command in commands:
        for event in decide(state, command, NOW):
            events.append(event)
            state = evolve(state, TASK, event)
    return recorded(TASK, *events)


def known(*first: e.TaskEvent, commands: Sequence[Decision] = (), **more: Any) -> Known:
    return Known(story_of(history(*first, commands=commands)), more.pop("now", NOW), **more)


def needy(*needs: DependsOn | AtLeast, **said: Any) -> tuple[e.TaskSubmitted, e.TaskBlocked]:
    by = tuple(e.Blocker(task_id=need.task_id) for need in needs if isinstance(need, DependsOn))
    sets = tuple(
        e.BlockerSet(at_least=need.at_least, of=tuple(e.Blocker(task_id=one.task_id) for one in need.of))
        for need in needs
        if isinstance(need, AtLeast)
    )
    return submitted(depends_on=needs, **said), e.TaskBlocked(task_id="T1", by=(*by, *sets))


def awaiting(*needs: DependsOn | AtLeast) -> list[e.TaskEvent]:
    """A task of which nobody had submitted those it needs; they are waited for until LATER."""
    first, blocked = needy(*needs)

    def dated(one: e.AnyBlocker) -> e.AnyBlocker:
        of = {"of": tuple(map(dated, one.of))} if isinstance(one, e.BlockerSet) else {"forward_until": LATER}
        return one.model_copy(update=of)

    return [first, blocked.model_copy(update={"by": tuple(map(dated, blocked.by))})]


def queued(place: Place | None = None, **said: Any) -> Known:
    return known(submitted(**said), QUEUED, place=place)


def place(*hosts: Host, own: Waiting = OWN, **more: Any) -> Place:
    return Place(own, hosts=hosts, clock=CLOCK, **more)


def other(n: int, lane: Lane = LANE, priority: int = 10) -> Waiting:
    return Waiting(queue_key(NOW, priority), n, UUID(int=n), lane)


def running(hold: Hold | None = None, *commands: Decision, **said: Any) -> Known:
    return known(submitted(**said), QUEUED, commands=(GRANT, START, *commands), hold=hold)


def broken(code: str) -> RunFinish:
    return RunFinish(task_id=TASK, run_id=RUN, fence=1, error=RunError(code=code, detail="as the engine says"))


def unfilled(code: str, detail: str) -> Known:
    return known(*needy(T0), e.TaskFailed(task_id="T1", reason=code, runs=0, detail=detail))


def failing(code: str) -> Known:
    return known(submitted(), QUEUED, commands=(GRANT, broken(code)))


FIRST = e.CachedFrom(task_id="T0", stream=derived_id(TASK, "T0"), ended_at=NOW)
LEFT = e.TaskSucceeded(task_id="T0", runs=2, exit_code=0, result={"rows": 3})
HEARD = Hold(accepted=True, left=9.0, heard=True)
TWICE = Retry(max_runs=2, first=timedelta(seconds=10), on=("exit-nonzero",))
ELSE = Retry(max_runs=1, on=("exit-nonzero",), fallback=Fallback(command=("slow",)))
OOM = RunFinish(task_id=TASK, run_id=RUN, fence=1, container_id="c1", exit_code=137, oom_killed=True)
UNKNOWN = RunFinish(task_id=TASK, run_id=RUN, fence=1, container_id="c1")
AGAIN = Grant("W2", 1, beat=3, age=timedelta(0))
SECOND = derived_id(TASK, "run:2")
T0, T2 = DependsOn(task_id="T0"), DependsOn(task_id="T2", when="finished")
VOTE = AtLeast(at_least=2, of=(DependsOn(task_id="A"), DependsOn(task_id="B"), DependsOn(task_id="C")))
OTHER = recorded(stream("T0"), submitted("T0"), QUEUED)
SKIPPED = recorded(stream("T0"), *needy(DependsOn(task_id="R")), e.TaskSkipped(task_id="T0", because="R"))
ROOT = recorded(
    stream("R"), submitted("R"), QUEUED, e.TaskFailed(task_id="R", reason="exit-nonzero", runs=1, exit_code=3)
)
KEYED = replace(LANE, shares=(Share("key:default/db", 1),))
BUSY, SILENT = replace(W1, held=2), replace(W1, heard=CLOCK - LEASE_TERM - 5)
DRAINING = replace(W1, draining=True)


def whole(**cancelled: Any) -> Mapping[UUID, Sequence[Recorded]]:
    """The workflow's stream, from before its task was cancelled."""
    node = e.Node(task_id="T1", stream=TASK)
    begun = e.WorkflowSubmitted(workflow_id="W", tasks=(node,))
    return {WORKFLOW: recorded(WORKFLOW, begun, e.WorkflowCancelled(workflow_id="W", **cancelled), first=-9)}


def second_failed() -> Known:
    """A task of two runs, both of which failed."""
    finish = RunFinish(task_id=TASK, run_id=SECOND, fence=2, container_id="c2", exit_code=4)
    return _with_next(TWICE, "retry", finish)


def fallen_back(exit_code: int) -> Known:
    """A task whose fallback ended so."""
    finish = RunFinish(task_id=TASK, run_id=SECOND, fence=2, container_id="c2", exit_code=exit_code)
    container = Container(image="busybox")
    first = submitted().model_copy(update={"spec": TaskSpec(container=container, retry=ELSE)})
    return _with_next(ELSE, "retry", finish, first)


def _with_next(retry: Retry, after: Any, finish: RunFinish, first: e.TaskSubmitted | None = None) -> Known:
    events: list[e.TaskEvent] = [first or submitted(retry=retry), QUEUED]
    for commands in ((GRANT, START, FAILED), (), (AGAIN, finish)):
        rows = history(*events, commands=commands)
        events = [row.event() for row in rows]  # type: ignore[misc]
        if not commands:
            events.append(QUEUED.model_copy(update={"after": after}))
    return Known(story_of(recorded(TASK, *events)), NOW)


def lost_once(retry: Retry) -> Known:
    return known(submitted(retry=retry), QUEUED, commands=(GRANT, START, CloseLease(1, accepted=True)))


EACH = TaskSpec.model_validate({"for_each": {"items": {"count": 9}, "task": {"executor": "noop"}}}, strict=False)
SPREAD = (e.TaskSubmitted(task_id="T1", spec=EACH), e.TaskSpread(task_id="T1", children=9))
READING_ITEMS = (
    e.TaskSubmitted(
        task_id="T1",
        spec=TaskSpec.model_validate(
            {
                "depends_on": [{"task_id": "T0"}],
                "for_each": {"items": "{{tasks.T0.result.items}}", "task": {"executor": "noop"}},
            },
            strict=False,
        ),
        depends_on=(e.Upstream(task_id="T0", stream=stream("T0")),),
        reads=("T0",),
    ),
    e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),)),
)
CHILD = submitted().model_copy(update={"child_of": e.ChildOf(task_id="P", stream=stream("P"), index=0)})
PARENT = recorded(
    stream("P"),
    e.TaskSubmitted(task_id="P", spec=EACH),
    e.TaskSpread(task_id="P", children=9),
    e.TaskRecalled(task_id="P", by="alice"),
    first=-9,
)
CASES: dict[str, tuple[Known, str]] = {
    "pause": (
        known(submitted(), QUEUED, commands=(Pause("bob", "audit"),)),
        "paused by bob: audit; let it go on with: tally resume T1",
    ),
    "dependency": (known(*needy(T0), streams={stream("T0"): OTHER}), "T0 (queued) must succeed"),
    "not-submitted": (
        known(*awaiting(DependsOn(task_id="L", forward=timedelta(hours=2)))),
        "L must succeed, and nobody has submitted it yet; submit it before 2026-11-21T04:12:40Z, or T1 expires",
    ),
    "dependencies": (
        known(*needy(VOTE), ends={"A": "succeeded"}),
        "2 of 3 must end as they should, 1 have; open: B, C",
    ),
    "more-dependencies": (
        known(*needy(*(DependsOn(task_id=f"N{n}") for n in range(12)))),
        "+2 more that it depends on",
    ),
    "time": (
        known(submitted(not_before=LATER), e.TaskBlocked(task_id="T1", by=(e.BlockerTime(until=LATER),))),
        "it is not queued before 2026-11-21T04:12:40Z",
    ),
    "retry": (
        known(submitted(retry=TWICE), QUEUED, commands=(GRANT, START, FAILED)),
        "run 1 failed: exit-nonzero (3); the next of 2 runs follows at ",
    ),
    "to-be-queued": (known(*needy(T0), ends={"T0": "succeeded"}), "all that it depends on has ended"),
    "to-be-skipped": (known(*needy(T0), ends={"T0": "cancelled"}), "T0 has been cancelled: it is skipped at once"),
    "to-be-expired": (
        known(*needy(T0, expires_at=LATER), now=LATER),
        "it was to begin before 2026-11-21T04:12:40Z: it expires at once",
    ),
    "dispatcher-behind": (queued(Place(None)), "just queued: the dispatcher has not read so far; look again"),
    "limit": (
        queued(
            place(
                W1,
                load=Load({LANE: 4}, {"namespace:default": Quota(4)}),
                holders={"namespace:default": HOLDERS},
            )
        ),
        "namespace:default max_running=4 (4 used by h1, h2, h3 +1); tally limit set namespace:default --max-running 5",
    ),
    "rate": (
        queued(
            place(
                W1,
                load=Load({}, {"pool:default": Quota(None, Rate(starts=2, per=timedelta(minutes=1)), 2)}),
                next_starts={"pool:default": LATER},
            )
        ),
        "pool:default rate=2/PT60S is used up; the next may start at 2026-11-21T04:12:40Z",
    ),
    "no-worker": (
        queued(place(replace(W1, pool="gpu"))),
        "pool default has no worker for executor noop; start one, or submit it to another pool",
    ),
    "no-label": (
        queued(place(W1, own=replace(OWN, lane=replace(LANE, labels=(("gpu", "a100"),))))),
        "no worker of pool default has gpu=a100; start one with TALLY_WORKER__LABELS",
    ),
    "worker-gone": (
        queued(place(W1, own=replace(OWN, lane=replace(LANE, worker="W9")))),
        "it must run on W9, which is gone, or no longer serves it; start it again, or cancel",
    ),
    "worker-draining": (
        queued(place(DRAINING, replace(DRAINING, worker_id="W0"))),
        "all that could run it are draining: W0, W1; take it back into service with: tally worker start W0, or start",
    ),
    "worker-silent": (queued(place(SILENT)), "not heard: W1 for 20 s; look at its host"),
    "no-slot": (
        queued(place(BUSY, holders={SLOTS: HOLDERS[:2]})),
        "the 2 slots of W1 are taken by h1, h2; one must end, or start a worker",
    ),
    "queue-order": (
        queued(place(W1, waiting=[other(1), other(2), OWN], ahead=2)),
        "others go before it to the free slots, 2 of them with the same needs",
    ),
    "fair-share": (
        queued(
            place(
                replace(W1, held=1),
                waiting=[other(1, replace(LANE, namespace="small")), OWN],
                load=Load({LANE: 1}),
            )
        ),
        "the free slots go to tasks of namespaces that have fewer of the pool than default",
    ),
    "due": (queued(place(W1, waiting=[OWN])), "nothing stands in its way: it is given to a worker at once"),
    "offered": (
        known(submitted(), QUEUED, commands=(GRANT,), hold=Hold(accepted=False, left=7.2, heard=True)),
        "offered as run 1 on W1, which has not taken it yet; offered anew in 7 s if nobody takes it",
    ),
    "starting": (
        known(submitted(), QUEUED, commands=(GRANT,), hold=replace(HEARD, state="pulling")),
        "run 1 on W1, which fetches its image",
    ),
    "running": (running(HEARD), "run 1 on W1 since 2026-11-21T03:12:39Z"),
    "timing-out": (
        running(HEARD, TimeOut(1), timeouts=Timeouts(run=timedelta(seconds=3))),
        "run 1 on W1 has run longer than 3 s; it has 10 s to end",
    ),
    "cancelling": (
        running(HEARD, Cancel("alice", "wrong day")),
        "cancelled by alice: wrong day; run 1 on W1 is being stopped",
    ),
    "worker-not-heard": (
        running(Hold(accepted=True, left=4.0, heard=False)),
        "W1 is not heard: its run is lost in 4 s unless it is heard; look at its host, and tally worker ls",
    ),
    "succeeded": (known(submitted(), QUEUED, commands=(GRANT, DONE)), "run 1 succeeded"),
    "cached": (
        known(submitted(cache=Cache()), QUEUED, commands=(Reuse(2, FIRST, LEFT),)),
        "the result is that of T0, which ended at 2026-11-21T03:12:40Z; have it run with: tally retry T1",
    ),
    "exit-nonzero": (known(submitted(), QUEUED, commands=(GRANT, FAILED)), "run 1: exit-nonzero (exit code 3)"),
    "oom": (known(submitted(), QUEUED, commands=(GRANT, OOM)), "run 1: oom (exit code 137)"),
    "timeout": (running(None, TimeOut(1), FAILED), "run 1: timeout (exit code 3)"),
    **{
        code: (failing(code), f"run 1: {code}: as the engine says")
        for code in (
            "image-not-allowed",
            "image-not-found",
            "pull-failed",
            "pull-rate-limited",
            "network-not-allowed",
            "container-refused",
            "bad-command",
            "name-clash",
            "result-invalid",
            "result-too-large",
            "artifacts-invalid",
            "artifacts-too-large",
            "engine-error",
            "worker-error",
        )
    },
    "template-missing-field": (
        unfilled("template-missing-field", "T0: result has no rows; have it write them"),
        "T0: result has no rows; have it write them",
    ),
    "template-too-large": (unfilled("template-too-large", "env: too large"), "env: too large"),
    "bad-input": (unfilled("bad-input", "input.rows: 0 is less than the minimum of 1"), "input.rows: 0 is less"),
    "unknown-outcome": (known(submitted(), QUEUED, commands=(GRANT, UNKNOWN)), "run 1: unknown-outcome"),
    "lost": (
        lost_once(Retry(max_runs=1, on=("lost",), max_losses=0)),
        "run 1: lost with its worker; its container was not seen gone, and may run on",
    ),
    "failed": (failing("moon-phase"), "run 1: moon-phase: as the engine says"),
    "retries-exhausted": (
        second_failed(),
        "2 runs failed, as many as may; the last one, run 2: exit-nonzero (exit code 4)",
    ),
    "fallback-failed": (fallen_back(5), "run 2, the fallback: exit-nonzero (exit code 5)"),
    "quarantined": (
        lost_once(Retry(max_losses=0)),
        "one run was lost: lost; find out whether it takes workers down, then: tally retry T1",
    ),
    "children": (
        replace(known(*SPREAD), children=Children(7, 2, {"succeeded": 3, "failed": 1})),
        (
            "7 of 9 children are submitted, 2 run, 4 have ended (1 failed, 3 succeeded); see those left with: "
            "tally ls parent=T1 status=open"
        ),
    ),
    "children-cancelling": (
        replace(known(*SPREAD, commands=(Cancel("alice", "wrong day"),)), children=Children(3, 1, {"cancelled": 2})),
        (
            "cancelled by alice: wrong day; of 3 children 1 run, 2 have ended (2 cancelled); see those left with: "
            "tally ls parent=T1 status=open"
        ),
    ),
    "children-failed": (
        known(*SPREAD, commands=(Gather({"succeeded": 8, "failed": 1}),)),
        "1 of 9 children did not succeed: 1 failed; see them with: tally ls parent=T1 status=failed",
    ),
    "bad-items": (
        known(*READING_ITEMS, commands=(Free({"T0": Ended("succeeded", 0, {"items": 7})}),)),
        "for_each.items: {{tasks.T0.result.items}} is no list",
    ),
    "too-many-items": (
        known(*READING_ITEMS, commands=(Free({"T0": Ended("succeeded", 0, {"items": [0] * 10_001})}),)),
        (
            "for_each.items: {{tasks.T0.result.items}} has 10001 items, and there may be 10000 children; let each item "
            "stand for several"
        ),
    ),
    "parent-cancelled": (
        known(CHILD, QUEUED, commands=(Cancel("alice"),), streams={stream("P"): PARENT}),
        "P, whose child it is, was cancelled by alice",
    ),
    "cancelled": (
        known(submitted(), QUEUED, commands=(Cancel("alice", "wrong day"),)),
        "cancelled by alice: wrong day",
    ),
    "workflow-cancelled": (
        known(submitted(workflow=True), QUEUED, commands=(Cancel("alice"),), streams=whole(by="alice")),
        "workflow W was cancelled by alice",
    ),
    "fail-fast": (
        known(
            submitted(workflow=True),
            QUEUED,
            commands=(Cancel("saga", "T0 failed"),),
            streams=whole(by="saga", reason="T0 failed", because="T0"),
        ),
        "T0 failed, and its workflow W fails fast",
    ),
    "replaced": (
        known(submitted(), QUEUED, commands=(Cancel("timekeeper", "nightly fires again"),)),
        "its schedule fired again: nightly fires again",
    ),
    "crowded-out": (
        known(submitted(), QUEUED, commands=(Cancel("dispatcher", "key:default/k is limited to 1"),)),
        "the place of its key went to another: key:default/k is limited to 1",
    ),
    "skipped": (
        known(
            *needy(T0),
            e.TaskSkipped(task_id="T1", because="T0"),
            streams={stream("T0"): SKIPPED, stream("R"): ROOT},
        ),
        "T0 skipped <- R failed (exit-nonzero): it could no longer end as T1 needs it",
    ),
    "queue-timeout": (
        known(
            submitted(timeouts=Timeouts(queue=timedelta(minutes=1))),
            QUEUED,
            commands=(Expire("queue-timeout", since=2),),
        ),
        "it was in the queue longer than 60 s; tally retry T1",
    ),
    "expires-at": (
        known(submitted(), QUEUED, commands=(Expire("expires-at"),)),
        "it still waited when none of its runs was to begin any more (expires-at)",
    ),
    "forward-deadline": (
        known(*needy(T0), e.TaskExpired(task_id="T1", reason="forward-deadline", because="T0")),
        "nobody had submitted T0 by then; submit T0 first, and then T1 again",
    ),
}
"""By code: what is known of a task, and how the detail begins."""
