"""Which tasks of a finished workflow run again, and that what they need is as it was."""

from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import events as e
from domain.dependencies import MEETS, requirements, settle, standing
from domain.errors import BadState
from domain.ids import derived_id
from domain.rerunning import numbered, renewed, resubmitted, to_rerun
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec
from domain.submitting import Whole, submit_workflow
from domain.task import Skip
from domain.task_states import Ended, Facts, Task
from domain.task_type import Types
from domain.workflow import Workflow
from tests.support.ended_tasks import NOW

F1, F2 = derived_id(UUID(int=0), "F1"), derived_id(UUID(int=0), "F2")
OUTSIDE = derived_id(F1, "outside")
ENDS = ("succeeded", "failed", "cancelled", "expired", "quarantined")
Firsts = Mapping[UUID, list[e.TaskEvent]]


def fates(firsts: Firsts, ends: Mapping[UUID, str], run: Callable[[UUID], str]) -> dict[UUID, str]:
    """How each task of a workflow ends: skipped as its needs say, else as it runs. `ends`: of tasks before it."""
    over = dict(ends)
    submitted = {stream: of(events[0]) for stream, events in firsts.items()}
    graph = {stream: [need.stream for need in first.depends_on] for stream, first in submitted.items()}
    for stream in TopologicalSorter(graph).static_order():
        if stream not in over:
            streams = {need.task_id: need.stream for need in submitted[stream].depends_on}
            known = {name: over[one] for name, one in streams.items() if one in over}
            fate = settle([standing(one, known) for one in requirements(submitted[stream].spec.depends_on)])
            assert fate is not None, "all that it needs has ended"
            over[stream] = "skipped" if isinstance(fate, Skip) else run(stream)
    return {stream: over[stream] for stream in firsts}


def of(event: e.Event) -> e.TaskSubmitted:
    assert isinstance(event, e.TaskSubmitted)
    return event


def finished(
    specs: list[TaskSpec], run: Mapping[str, str], on_failure: OnFailure = "skip-downstream"
) -> tuple[Workflow, dict[UUID, Task], Firsts]:
    """A workflow whose tasks have ended. `run`: name -> how its run ends."""
    streams = {derived_id(F1, spec.task_id or ""): spec.task_id or "" for spec in specs}
    tasks = list(zip(specs, streams, strict=True))
    submitted, firsts = submit_workflow(Whole("F1", F1, on_failure), tasks, {"outside": OUTSIDE}, Types("base"))
    over = fates(firsts, {OUTSIDE: "succeeded"}, lambda stream: run[streams[stream]])
    states = {stream: Ended(Facts(stream, 3, of(firsts[stream][0])), over[stream]) for stream in streams}
    return Workflow(F1, 3, submitted, "finished"), dict(states), firsts


def again(old: Workflow, tasks: Mapping[UUID, Task]) -> tuple[e.WorkflowSubmitted, Firsts]:
    chosen = [(task, derived_id(F2, task.task_id)) for task in to_rerun(old, tasks)]
    whole = Whole("F2", F2, old.submitted.on_failure)
    return resubmitted(old, renewed(old, chosen, lambda name: False), whole, NOW)


def spec(name: str, *needs: Any, **more: Any) -> TaskSpec:
    depends_on = [{"task_id": need} if isinstance(need, str) else need for need in needs]
    return TaskSpec.model_validate({"task_id": name, "executor": "noop", "depends_on": depends_on, **more})


ETL = [
    spec("extract"),
    spec("transform", "extract"),
    spec("load", "transform"),
    spec("tell", {"task_id": "transform", "when": "failed"}),
    spec("clean", {"task_id": "load", "when": "always"}),
    spec("count", "extract"),
]


def test_what_failed_runs_again_with_all_that_began_because_of_how_it_ended() -> None:
    ends = dict.fromkeys(("extract", "tell", "clean", "count"), "succeeded") | {"transform": "failed"}
    old, tasks, _ = finished(ETL, ends)

    submitted, firsts = again(old, tasks)

    names = {node.task_id: node.depends_on for node in submitted.tasks}
    assert names == {
        "transform:2": ("extract",),
        "load:2": ("transform:2",),
        "tell:2": ("transform:2",),
        "clean:2": ("load:2",),
    }
    assert submitted.retry_of == e.FormerWorkflow(workflow_id="F1", stream=F1)
    transform = of(firsts[derived_id(F2, "transform")][0])
    assert transform.depends_on == (e.Upstream(task_id="extract", stream=derived_id(F1, "extract")),)
    assert transform.retry_of == e.Upstream(task_id="transform", stream=derived_id(F1, "transform"))
    assert (transform.workflow_id, transform.workflow) == ("F2", F2)
    assert of(firsts[derived_id(F2, "clean")][0]).spec.depends_on == (DependsOn(task_id="load:2", when="always"),)


def test_a_set_that_is_met_without_what_failed_is_met_still() -> None:
    either = {"at_least": 1, "of": [{"task_id": "a"}, {"task_id": "b"}]}
    both = {"at_least": 2, "of": [{"task_id": "a"}, {"task_id": "b", "when": "finished"}]}
    specs = [spec("a"), spec("b"), spec("any", either), spec("all", both)]
    old, tasks, _ = finished(specs, {"a": "succeeded", "b": "failed", "any": "succeeded", "all": "succeeded"})

    submitted, firsts = again(old, tasks)

    assert [node.task_id for node in submitted.tasks] == ["b:2", "all:2"]
    [need] = of(firsts[derived_id(F2, "all")][0]).spec.depends_on
    assert need == AtLeast(at_least=2, of=(DependsOn(task_id="a"), DependsOn(task_id="b:2", when="finished")))


def test_what_reads_a_task_that_runs_again_reads_the_new_one_and_follows_it_to_its_worker() -> None:
    reading = spec(
        "load",
        "extract",
        "count",
        input={"rows": "{{tasks.extract.result.rows}} of {{tasks.count.result}}"},
        requires={"same_worker_as": "extract"},
    )
    old, tasks, _ = finished([spec("extract"), spec("count"), reading], {"extract": "failed", "count": "succeeded"})

    _, firsts = again(old, tasks)

    submitted = of(firsts[derived_id(F2, "load")][0])
    assert submitted.spec.input == {"rows": '{{tasks["extract:2"].result.rows}} of {{tasks.count.result}}'}
    assert submitted.reads == ("extract:2", "count")
    assert submitted.spec.requires.same_worker_as == "extract:2"


def test_what_was_to_follow_a_task_that_is_kept_runs_on_any_worker() -> None:
    load = spec("load", "extract", requires={"same_worker_as": "extract", "labels": {"disk": "ssd"}})
    old, tasks, _ = finished([spec("extract"), load], {"extract": "succeeded", "load": "failed"})

    _, firsts = again(old, tasks)

    requires = of(firsts[derived_id(F2, "load")][0]).spec.requires
    assert (requires.same_worker_as, requires.labels) == (None, {"disk": "ssd"})


def test_the_way_a_workflow_takes_failures_is_kept() -> None:
    old, tasks, _ = finished([spec("a"), spec("b", "a")], {"a": "failed", "b": "failed"}, "continue")

    submitted, firsts = again(old, tasks)

    assert submitted.on_failure == "continue"
    assert of(firsts[derived_id(F2, "b")][0]).spec.depends_on == (DependsOn(task_id="a:2", when="finished"),)


def test_times_that_have_passed_and_priorities_of_before() -> None:
    late = spec("a", not_before="2020-01-01T00:00:00Z", expires_at="2020-01-02T00:00:00Z")
    old, tasks, _ = finished([late], {"a": "expired"})
    [(stream, state)] = tasks.items()
    facts = Facts(stream, 4, state.facts.submitted, priority=9)

    _, firsts = again(old, {stream: Ended(facts, "expired")})

    renewed = of(firsts[derived_id(F2, "a")][0]).spec
    assert (renewed.not_before, renewed.expires_at, renewed.priority) == (None, None, 9)


@pytest.mark.parametrize(
    ("specs", "status", "says"),
    [
        ([spec("a"), spec("b", "a")], "finished", "workflow F1: all of its tasks have succeeded"),
        ([spec("a"), spec("b", "a")], "running", "workflow F1 has not finished: cancel it first, or wait"),
        ([spec("a"), spec("b", "a")], "cancelled", "workflow F1 has not finished"),
        (
            [spec("a"), spec("oops", {"task_id": "a", "when": "failed"}), spec("c", "oops")],
            "finished",
            "workflow F1: c would be skipped again, and nothing else is left",
        ),
    ],
)
def test_nothing_to_run_again_is_refused(specs: list[TaskSpec], status: str, says: str) -> None:
    old, tasks, _ = finished(specs, dict.fromkeys(("a", "b"), "succeeded"))

    with pytest.raises(BadState, match=says):
        to_rerun(Workflow(F1, 3, old.submitted, status), tasks)


@pytest.mark.parametrize(
    ("names", "taken", "given"),
    [
        (["a", "b"], [], ["a:2", "b:2"]),
        (["a:2", "b"], [], ["a:3", "b:3"]),
        (["a", "b"], ["b:2"], ["a:3", "b:3"]),
        (["x" * 128], [], ["x" * 126 + ":2"]),
        (["a:1", "a:0"], [], ["a:1:2", "a:0:2"]),
        (["a:9"], [], ["a:10"]),
        (["x" * 127 + "a", "x" * 127 + "b"], [], None),
        (["a"], [f"a:{n}" for n in range(2, 10)], None),
    ],
)
def test_new_names_are_numbered_alike_and_free(names: list[str], taken: list[str], given: list[str] | None) -> None:
    old, tasks, _ = finished([spec(name) for name in names], dict.fromkeys(names, "failed"))
    chosen = [(task, derived_id(F2, name)) for name, task in zip(names, to_rerun(old, tasks), strict=True)]

    got = [one.name or "" for one in renewed(old, chosen, taken.__contains__)]

    ends = [f":{derived_id(F2, name).hex[-12:]}" for name in names]
    assert got == (given or [name[: 128 - 13] + end for name, end in zip(names, ends, strict=True)])
    assert all(len(name) <= 128 for name in got)
    assert any(dict(zip(names, got, strict=True)).items() <= some.items() for some in numbered(old)) == bool(given)


def test_a_task_that_had_no_name_has_none_again() -> None:
    bare = TaskSpec.model_validate({"executor": "noop"})
    stream = derived_id(F1, "bare")
    submitted, firsts = submit_workflow(Whole("F1", F1), [(bare, stream)], {}, Types("base"))
    old = Workflow(F1, 3, submitted, "finished")
    tasks: dict[UUID, Task] = {stream: Ended(Facts(stream, 3, of(firsts[stream][0])), "failed")}

    renewed, _ = again(old, tasks)

    new = derived_id(F2, str(stream))
    assert renewed.tasks == (e.Node(task_id=str(new), stream=new),)


@st.composite
def workflows(draw: st.DrawFn) -> list[TaskSpec]:
    """Tasks that need earlier ones, and one outside, with any conditions and sets."""
    specs: list[TaskSpec] = []
    for n in range(draw(st.integers(1, 6))):
        names = ["outside", *(f"t{m}" for m in range(n))]
        needs = st.builds(DependsOn, task_id=st.sampled_from(names), when=st.sampled_from([None, *MEETS]))
        alone = draw(st.lists(needs, max_size=3, unique_by=lambda need: need.task_id))
        of = draw(st.lists(needs, max_size=3, unique_by=lambda need: need.task_id))
        sets = [AtLeast(at_least=draw(st.integers(1, len(of))), of=tuple(of))] if of else []
        specs.append(TaskSpec(task_id=f"t{n}", executor="noop", depends_on=(*alone, *sets)))
    return specs


@given(workflows(), st.sampled_from(["skip-downstream", "continue"]), st.data())
def test_a_rerun_ends_as_the_whole_workflow_would_if_what_is_kept_succeeded_again(
    specs: list[TaskSpec], on_failure: OnFailure, data: st.DataObject
) -> None:
    names = [one.task_id or "" for one in specs]
    ends = st.lists(st.sampled_from(ENDS), min_size=len(names), max_size=len(names))
    old, tasks, firsts = finished(specs, dict(zip(names, data.draw(ends), strict=True)), on_failure)
    then = dict(zip(names, data.draw(ends), strict=True))
    try:
        submitted, renewed = again(old, tasks)
    except BadState:
        assert {state.status for state in tasks.values() if isinstance(state, Ended)} <= {"succeeded", "skipped"}
        return
    origins = {stream: of(events[0]).retry_of for stream, events in renewed.items()}
    olds = {stream: origin for stream, origin in origins.items() if origin is not None}
    kept = {stream: "succeeded" for stream in tasks if stream not in {origin.stream for origin in olds.values()}}
    good = {one for one, state in tasks.items() if isinstance(state, Ended) and state.status == "succeeded"}
    assert kept.keys() <= good
    assert {node.stream for node in submitted.tasks} == set(renewed)

    over = fates(renewed, {OUTSIDE: "succeeded", **kept}, lambda stream: then[olds[stream].task_id])

    whole = fates(firsts, {OUTSIDE: "succeeded"}, lambda one: kept.get(one) or then[tasks[one].task_id])
    assert {olds[stream].stream: end for stream, end in over.items()} | kept == whole
