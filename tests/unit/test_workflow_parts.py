"""Workflows that are submitted in several messages."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from api.splitting import messages
from domain import events as e
from domain import workflow
from domain.commands import SubmitWorkflow
from domain.errors import DependencyCycle
from domain.ports.broker import Delivery
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec, When
from domain.work import Reply
from tests.support.commands import COMMAND, NOOP, Desk, command, needing


def part(number: int, *tasks: dict[str, Any], more: bool = True, **given: Any) -> Delivery:
    """A message of workflow F1, under an id of its own."""
    data = {"workflow_id": "F1", "tasks": tasks, **({"more": True} if more else {}), **given}
    return command("task.submit-workflow.v1", data, UUID(int=COMMAND.int + number))


LATER = {"task_id": "x", "forward": "PT1H"}


def promising(name: str) -> Delivery:
    """A task elsewhere that waits for one of this name."""
    return command("task.submit.v1", needing("elsewhere", f"~{name}"), UUID(int=COMMAND.int + 7))


def code(reply: Reply) -> str:
    return reply.problem.code if reply.problem else reply.outcome


def told(desk: Desk) -> list[e.Event]:
    return [row.event() for row in desk.store.log.events if row.type.startswith("workflow.")]


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
async def test_a_workflow_comes_in_parts_each_accepted_as_a_whole(together: bool) -> None:
    desk = Desk()
    parts = [
        part(1, needing("a")),
        part(2, needing("b", "a"), needing("c", "b")),
        part(3, needing("d", "a"), more=False),
    ]

    for deliveries in [parts] if together else [[one] for one in parts]:
        await desk.handle(deliveries)

    assert {(code(reply), reply.workflow_id) for reply in desk.sent.replies} == {("accepted", "F1")}
    first, *later = told(desk)
    assert isinstance(first, e.WorkflowSubmitted)
    assert first.open
    assert [
        ([(node.task_id, node.depends_on) for node in one.tasks], one.open)
        for one in later
        if isinstance(one, e.WorkflowExtended)
    ] == [([("b", ("a",)), ("c", ("b",))], True), ([("d", ("a",))], None)]
    whole = {event.workflow for row in desk.store.log.events if isinstance(event := row.event(), e.TaskSubmitted)}
    assert whole == {desk.sent.replies[0].id}


@pytest.mark.parametrize(
    ("before", "late", "problem", "said"),
    [
        ([part(1, needing("a")), part(2, needing("b"), more=False)], part(9, needing("c")), "bad-state", "had no more"),
        ([part(1, needing("a"), more=False)], part(9, needing("c")), "workflow-id-taken", "F1"),
        (
            [part(1, needing("a")), command("workflow.cancel.v1", {"workflow_id": "F1"}, UUID(int=5))],
            part(9, needing("c")),
            "bad-state",
            "F1 is cancelled",
        ),
        ([part(1, needing("a"))], part(9, needing("b"), needing("a")), "task-id-taken", "a names"),
        ([part(1, needing("a"))], part(9, needing("b", "x")), "unknown-dependency", "x"),
        ([part(1, needing("a"))], part(9, needing("b"), on_failure="fail-fast"), "bad-state", "skip-downstream"),
        ([part(1, needing("a"), max_parallel=2)], part(9, needing("b"), max_parallel=3), "bad-state", "begun with 2"),
        (
            [part(1, needing("a"), on_failure="fail-fast")],
            part(9, {**NOOP, "depends_on": [{"task_id": "a", "when": "failed"}]}),
            "fail-fast-condition",
            "needs a (failed)",
        ),
        ([part(1, needing("a", "~b"))], part(9, needing("b", "a")), "dependency-cycle", "b -> a -> b"),
        ([part(1, needing("a"), on_failure="continue")], part(9, needing("b", "~x")), "forward-condition", "b needs x"),
        (
            [part(1, needing("a"), on_failure="continue"), promising("x")],
            part(9, {**NOOP, "task_id": "b", "depends_on": [{"at_least": 1, "of": [LATER, {"task_id": "a"}]}]}),
            "forward-condition",
            "b needs x",
        ),
        (
            [part(1, needing("a"), on_failure="fail-fast")],
            part(9, {**NOOP, "task_id": "b", "depends_on": [{**LATER, "when": "failed"}]}),
            "forward-condition",
            "b needs x (failed)",
        ),
    ],
    ids=[
        "closed",
        "one message",
        "cancelled",
        "task again",
        "unknown",
        "on_failure",
        "max_parallel",
        "fail-fast",
        "cycle",
        "continue to come",
        "continue promised",
        "fail-fast to come",
    ],
)
async def test_a_part_that_does_not_go_on_with_the_workflow_is_refused_as_a_whole(
    before: list[Delivery], late: Delivery, problem: str, said: str
) -> None:
    desk = Desk()
    for delivery in before:
        await desk.handle([delivery])
    written = len(desk.types)

    reply = await desk.reply(late)

    assert code(reply) == problem
    assert reply.problem is not None
    assert said in reply.problem.detail
    assert len(desk.types) == written


async def test_a_part_under_another_id_is_one_part_and_closes_the_workflow_if_it_says_no_more() -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a"))])
    await desk.handle([part(2, needing("b", "a"))])
    written = len(desk.types)

    first, again = await desk.reply(part(3, needing("a"))), await desk.reply(part(4, needing("b", "a")))
    assert (code(first), code(again), len(desk.types)) == ("accepted", "accepted", written)

    closing = await desk.reply(part(5, needing("b", "a"), more=False))
    assert code(closing) == "accepted"
    assert told(desk)[-1] == e.WorkflowExtended(workflow_id="F1", tasks=())
    assert code(await desk.reply(part(6, needing("b", "a"), more=False))) == "accepted"
    assert len(desk.types) == written + 1


@pytest.mark.parametrize("given", [{}, {"max_parallel": 2}], ids=["left out", "repeated"])
async def test_how_many_run_at_once_is_said_in_the_first_part_and_holds_for_all(given: dict[str, Any]) -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a"), max_parallel=2)])

    assert code(await desk.reply(part(2, needing("b"), **given))) == "accepted"

    tasks = [event for row in desk.store.log.events if isinstance(event := row.event(), e.TaskSubmitted)]
    assert [(one.task_id, one.max_parallel) for one in tasks] == [("a", 2), ("b", 2)]


async def test_in_a_workflow_that_continues_a_later_part_may_go_on_after_failures_of_an_earlier_one() -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a"), on_failure="continue")])
    await desk.handle([part(2, needing("b", "a"))])

    blocked = desk.store.log.events[-1].event()
    assert blocked == e.TaskBlocked(task_id="b", by=(e.Blocker(task_id="a", needs="finished"),))


@pytest.mark.parametrize(
    ("on_failure", "need", "more", "needs"),
    [
        ("continue", {**LATER, "when": "succeeded"}, True, "succeeded"),
        ("continue", {**LATER, "when": "finished"}, True, "finished"),
        ("continue", LATER, False, "succeeded"),
        ("fail-fast", LATER, True, "succeeded"),
        ("fail-fast", {**LATER, "when": "failed"}, False, "failed"),
        ("skip-downstream", {**LATER, "when": "failed"}, True, "failed"),
    ],
)
async def test_a_task_to_come_may_be_needed_as_it_would_be_in_the_workflow_or_where_it_cannot_come_into_it(
    on_failure: str, need: dict[str, str], more: bool, needs: str
) -> None:
    desk = Desk()
    task = {**NOOP, "task_id": "b", "depends_on": [need]}

    assert code(await desk.reply(part(1, task, on_failure=on_failure, more=more))) == "accepted"

    blocked = desk.store.log.events[-1].event()
    assert isinstance(blocked, e.TaskBlocked)
    assert [one.needs for one in blocked.by if isinstance(one, e.Blocker)] == [needs]


async def test_a_workflow_has_ten_thousand_tasks_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "MOST_TASKS", 3)
    desk = Desk()
    await desk.handle([part(1, needing("a"), needing("b"))])

    assert code(await desk.reply(part(2, needing("c"), needing("d")))) == "too-many-tasks"
    assert code(await desk.reply(part(3, needing("c"), more=False))) == "accepted"


async def test_more_needs_a_name() -> None:
    reply = await Desk().reply(command("task.submit-workflow.v1", {"more": True, "tasks": [NOOP]}))

    assert code(reply) == "schema"
    assert reply.problem is not None
    assert "more needs a workflow_id" in reply.problem.detail


def chain(size: int, filler: str = "") -> list[TaskSpec]:
    """Each task needs the one before; the last is given first."""
    labels = {"filler": filler} if filler else {}
    tasks = [TaskSpec(task_id=f"t{n}", executor="noop", labels=labels) for n in range(size)]
    return [
        task.model_copy(update={"depends_on": (DependsOn(task_id=f"t{n - 1}"),) if n else ()})
        for n, task in reversed(list(enumerate(tasks)))
    ]


def test_a_large_workflow_is_split_so_that_what_a_task_needs_comes_before() -> None:
    tasks = chain(2500)

    parts = messages("F1", "default", tasks, "continue", 7)

    assert [(len(one.tasks), one.more, one.on_failure, one.max_parallel) for one in parts] == [
        (1000, True, "continue", 7),
        (1000, True, "continue", 7),
        (500, False, "continue", 7),
    ]
    assert [task.task_id for one in parts for task in one.tasks] == [f"t{n}" for n in range(2500)]
    assert all(SubmitWorkflow.model_validate_json(one.body(), strict=True) == one for one in parts)


@pytest.mark.parametrize(("on_failure", "when"), [("continue", "succeeded"), ("skip-downstream", None)])
def test_a_large_workflow_says_what_it_needs_of_tasks_that_can_only_come_from_elsewhere(
    on_failure: OnFailure, when: When | None
) -> None:
    hour = timedelta(hours=1)
    elsewhere, own = DependsOn(task_id="x", forward=hour), DependsOn(task_id="t0", forward=hour)
    asked = (elsewhere, own, DependsOn(task_id="y", forward=hour, when="failed"), DependsOn(task_id="z"))
    last = TaskSpec(task_id="last", executor="noop", depends_on=(*asked, AtLeast(at_least=1, of=(elsewhere, own))))

    parts = messages("F1", "default", [*chain(1000), last], on_failure)

    [sent] = [task for one in parts for task in one.tasks if task.task_id == "last"]
    settled = elsewhere.model_copy(update={"when": when})
    assert sent.depends_on == (settled, *asked[1:], AtLeast(at_least=1, of=(settled, own)))


def test_a_workflow_of_one_message_is_sent_as_it_was_written() -> None:
    tasks = chain(1000)

    assert messages(None, "default", tasks) == [SubmitWorkflow(tasks=tuple(tasks), on_failure="skip-downstream")]


def test_a_workflow_of_few_large_tasks_is_split_too() -> None:
    parts = messages("F1", "default", chain(950, "x" * 1000))

    assert len(parts) == 2
    assert all(len(one.body()) < 1 << 20 for one in parts)


def test_a_large_workflow_with_a_cycle_is_refused_before_it_is_sent() -> None:
    tasks = chain(1001)
    round_about = tasks[-1].model_copy(update={"depends_on": (DependsOn(task_id="t1000"),)})

    with pytest.raises(DependencyCycle, match="t0 -> t1000"):
        messages("F1", "default", [*tasks[:-1], round_about])
