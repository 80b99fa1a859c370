"""Whatever a task goes through, its history is one that the published states allow."""

from hypothesis import given
from hypothesis import strategies as st

from domain import events as e
from domain.caching import Reuse
from domain.errors import BadState
from domain.ids import derived_id
from domain.reports import RunError, RunFinish, RunStart
from domain.task import (
    OFFER_SPAN,
    Cancel,
    CloseLease,
    Decision,
    Expire,
    Free,
    Gather,
    Grant,
    Pause,
    Prioritise,
    Resume,
    Skip,
    TimeOut,
    Wake,
    decide,
)
from domain.task_states import Ended, Held, Queued, Recalled, Spread, Task, evolve
from tests.support.ended_tasks import NOW, TASK
from tests.support.run_order import check_runs
from tests.support.task_states import GRANT, KNOWN, STATES, after

FENCES = st.integers(min_value=1, max_value=6)
RUNS = st.integers(min_value=1, max_value=4).map(lambda run: derived_id(TASK, f"run:{run}"))
FIRST = e.CachedFrom(task_id="T9", stream=derived_id(TASK, "T9"), ended_at=NOW)
LEFT = e.TaskSucceeded(task_id="T9", runs=1, exit_code=0, result={"n": 7}, cache=e.Kept(key="ab" * 32, ttl=OFFER_SPAN))
CODES = st.sampled_from([None, 0, 1, 137])


@st.composite
def commands(draw: st.DrawFn, state: Task) -> Decision:
    """Any command: half of the time about the lease there is, else about any."""
    right = isinstance(state, Held) and draw(st.booleans())
    fence = state.lease.fence if right and isinstance(state, Held) else draw(FENCES)
    run_id = state.lease.run_id if right and isinstance(state, Held) else draw(RUNS)
    container = draw(st.sampled_from([None, "c1"]))
    finish = RunFinish(
        task_id=TASK,
        run_id=run_id,
        fence=fence,
        container_id=container,
        exit_code=draw(CODES),
        oom_killed=draw(st.booleans()),
        gone=draw(st.booleans()),
        error=draw(
            st.sampled_from([None, *(RunError(code=code) for code in ("image-missing", "engine-down", "lost"))])
        ),
    )
    choices: list[Decision] = [
        Free(),
        Free(KNOWN),
        Skip("T0"),
        Expire("forward-deadline", because="T0"),
        GRANT,
        Reuse(
            state.since if isinstance(state, Queued) and draw(st.booleans()) else draw(st.integers(1, 9)), FIRST, LEFT
        ),
        CloseLease(fence, draw(st.booleans())),
        TimeOut(fence),
        Wake(fence),
        Gather({"succeeded": 2}),
        Gather({"succeeded": 1, "failed": 1}),
        Prioritise(draw(st.integers(1, 10))),
        Pause("bob"),
        Resume("bob"),
        Cancel("alice"),
        RunStart(task_id=TASK, run_id=run_id, fence=fence, container_id=container),
        finish,
    ]
    return draw(st.sampled_from(choices))


@given(st.data(), st.sampled_from(["blocked", "reading", "queued", "retrying", "to be spread"]))
def test_every_history_is_one_that_the_published_states_allow(data: st.DataObject, first: str) -> None:
    state, history = STATES[first], list[e.TaskEvent]()
    for _ in range(data.draw(st.integers(0, 25))):
        command = data.draw(commands(state))
        try:
            added = decide(state, command, NOW)
        except BadState:
            ended = isinstance(state, Ended) and isinstance(command, Cancel | Prioritise | Pause | Resume)
            spread = isinstance(state, Spread | Recalled) and isinstance(command, Pause | Prioritise)
            assert ended or spread or (isinstance(state, Held) and isinstance(command, Pause))
            continue
        for event in added:
            assert e.read_event(event.TYPE, event.body()) == event
            version = state.version
            state = evolve(state, TASK, event)
            assert state.version == version + 1
        history += added
        assert not state.facts.paused or not isinstance(state, Queued | Held | Spread | Recalled)
        fills = any(isinstance(event, e.TaskFilled) for event in added)
        assert not isinstance(command, Grant | Free) or len(added) <= 1 + fills

    ends = [n for n, event in enumerate(history) if event.TYPE in e.ENDS]
    assert len(ends) <= 1
    assert isinstance(state, Ended) == bool(ends)
    if ends:
        assert {event.TYPE for event in history[ends[0] + 1 :]} <= {e.LateResultIgnored.TYPE}
    check_runs(history)
    assert (first == "to be spread") >= any(isinstance(event, e.TaskSpread | e.TaskRecalled) for event in history)
    assert sum(isinstance(event, e.TaskSpread) for event in history) <= 1
    if first == "to be spread":
        return
    filled = [n for n, event in enumerate(history) if isinstance(event, e.TaskFilled)]
    assert len(filled) <= (first == "reading")
    at = STATES[first].version + filled[0] + 1 if filled else None
    leases = [event.filled for event in history if isinstance(event, e.RunLeased)]
    assert leases == [at] * len(leases)
    assert at is not None or first != "reading" or not leases
    taken = [event for event in history if isinstance(event, e.TaskSucceeded) and event.cached_from is not None]
    assert all(event.cache is None and event.runs == state.facts.run for event in taken)


@given(st.data())
def test_deciding_the_same_again_never_adds_a_second_end_or_lease(data: st.DataObject) -> None:
    state = STATES[data.draw(st.sampled_from(sorted(STATES)))]
    command = data.draw(commands(state))
    try:
        again = after(state, command)
    except BadState:
        return
    if isinstance(again, Ended) and isinstance(command, Cancel):
        return

    repeated = decide(again, command, NOW)

    assert {event.TYPE for event in repeated} <= {e.LateResultIgnored.TYPE}
