"""Tasks that need tasks which are submitted later."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from consumers import promising
from consumers.promising import look_upstream
from domain import events as e
from domain.folding import task_of
from domain.ports.broker import Delivery
from domain.ports.handling import NameKey
from domain.task_states import Blocked
from domain.work import Reply
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, NOOP, Desk, command, needing, submit, task
from tests.support.ended_tasks import NOW, Hands
from tests.support.overtaking import ContendedStore


def workflow(id: UUID, *tasks: dict[str, Any]) -> Delivery:
    return command("task.submit-workflow.v1", {"workflow_id": f"F{id.int % 100}", "tasks": tasks}, id)


def code(reply: Reply) -> str:
    return reply.problem.code if reply.problem else reply.outcome


def submitted(desk: Desk) -> dict[str, e.TaskSubmitted]:
    events = (row.event() for row in desk.store.log.events)
    return {event.task_id: event for event in events if isinstance(event, e.TaskSubmitted)}


def edges(desk: Desk) -> dict[str, dict[str, UUID]]:
    """What each task needs, with the streams of these."""
    return {name: {need.task_id: need.stream for need in one.depends_on} for name, one in submitted(desk).items()}


def streams(desk: Desk) -> dict[str, UUID]:
    return {
        event.task_id: row.stream for row in desk.store.log.events if isinstance(event := row.event(), e.TaskSubmitted)
    }


async def test_a_task_waits_until_its_time_for_a_name_that_nobody_has_submitted() -> None:
    desk = Desk()

    reply = await desk.reply(submit(needing("T1", "~T0")))

    assert code(reply) == "accepted"
    blocked = desk.store.log.events[-1].event()
    until = NOW + timedelta(hours=1)
    assert blocked == e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0", forward_until=until),))
    assert desk.store.names[NameKey("default", "task", "T0")].promised


@pytest.mark.parametrize(
    "late",
    [
        submit({"task_id": "T0"}, COMMAND_2),
        command("task.submit-tasks.v1", {"tasks": [{**NOOP, "task_id": "T0"}]}, COMMAND_2),
        workflow(COMMAND_2, {**NOOP, "task_id": "T0"}),
        command("task.retry.v1", {"task_id": "old", "new_task_id": "T0"}, COMMAND_2),
        command("task.fork.v1", {"task_id": "old", "new_task_id": "T0"}, COMMAND_2),
    ],
    ids=["task", "tasks", "workflow", "retry", "fork"],
)
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
async def test_whatever_brings_the_task_later_it_is_the_one_that_was_waited_for(late: Delivery, together: bool) -> None:
    desk = Desk()
    await desk.handle([submit({"task_id": "old"}, UUID(int=1))])
    await desk.handle([command("task.cancel.v1", {"task_id": "old"}, UUID(int=2))])
    early = [task("T1", "~T0"), task("T2", "~T0")]
    batches = [[*early, late]] if together else [[one] for one in (*early, late)]

    for deliveries in batches:
        assert await desk.handle(deliveries) == []

    assert {reply.outcome for reply in desk.sent.replies} == {"accepted"}
    assert edges(desk)["T1"] == edges(desk)["T2"] == {"T0": streams(desk)["T0"]}
    assert not desk.store.names[NameKey("default", "task", "T0")].promised
    assert code(await desk.reply(submit({"task_id": "T0", "priority": 9}, UUID(int=3)))) == "task-id-taken"


async def test_a_forward_reference_to_a_task_that_is_there_is_one_like_any_other() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))

    await desk.reply(task("T1", "~T0"))
    await desk.reply(workflow(COMMAND_2, needing("T2", "~T3"), needing("T3")))

    blocked = [event for row in desk.store.log.events if isinstance(event := row.event(), e.TaskBlocked)]
    assert blocked == [
        e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),)),
        e.TaskBlocked(task_id="T2", by=(e.Blocker(task_id="T3"),)),
    ]
    assert edges(desk) == {"T0": {}, "T1": {"T0": streams(desk)["T0"]}, "T2": {"T3": streams(desk)["T3"]}, "T3": {}}


@pytest.mark.parametrize(
    "plain",
    [
        task("T2", "T0"),
        workflow(COMMAND_2, needing("T2", "T0")),
        workflow(COMMAND_2, needing("T2", "~T0"), needing("T3", "T0")),
        command("task.cancel.v1", {"task_id": "T0"}, COMMAND_2),
        command("task.retry.v1", {"task_id": "T0"}, COMMAND_2),
    ],
    ids=["task", "workflow", "one of two", "cancel", "retry"],
)
async def test_a_name_that_is_only_waited_for_is_unknown_to_all_others(plain: Delivery) -> None:
    desk = Desk()
    await desk.reply(task("T1", "~T0"))
    before = dict(desk.store.names)

    assert await desk.handle([plain], timedelta(0)) == [plain]
    assert code(await desk.reply(plain)) in {"unknown-dependency", "not-found"}

    assert desk.store.names == before


async def test_of_many_tasks_each_may_wait_for_one_that_comes_later_in_the_message() -> None:
    desk = Desk()
    tasks = [needing("a", "~b"), needing("b", "~c"), needing("x", "c"), needing("c")]

    reply = await desk.reply(command("task.submit-tasks.v1", {"tasks": tasks}))

    assert reply.tasks is not None
    assert [(one.task_id, one.outcome) for one in reply.tasks] == [
        ("a", "accepted"),
        ("b", "accepted"),
        ("x", "rejected"),
        ("c", "accepted"),
    ]
    assert edges(desk) == {"a": {"b": streams(desk)["b"]}, "b": {"c": streams(desk)["c"]}, "c": {}}


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize(
    ("before", "closing", "path"),
    [
        ([task("T1", "~T0")], task("T0", "T1"), "T0 -> T1 -> T0"),
        ([task("T1", "~T0"), task("T2", "T1"), task("T3", "T2")], task("T0", "T3"), "T0 -> T3 -> T2 -> T1 -> T0"),
        ([task("T1", "~T0"), task("X")], workflow(COMMAND_2, needing("T0", "a"), needing("a", "X", "T1")), "T0 -> a"),
        ([workflow(COMMAND_3, needing("a", "~T0"), needing("b", "a"))], task("T0", "b"), "T0 -> b -> a -> T0"),
        ([task("Z", "~T0", "~T1"), task("T0", "~T1")], task("T1", "~T0"), "T1 -> T0 -> T1"),
        ([task("T1", "~T0"), task("T0", "~T5", "~T1x")], task("T5", "T1"), "T5 -> T1 -> T0 -> T5"),
    ],
    ids=["two", "longer", "workflow closes", "through a workflow", "both promised", "taken and promising"],
)
async def test_a_later_command_that_closes_a_cycle_is_refused_with_its_path(
    before: list[Delivery], closing: Delivery, path: str, together: bool
) -> None:
    desk = Desk()
    if together:
        await desk.handle([*before, closing])
    else:
        for delivery in (*before, closing):
            await desk.handle([delivery])

    *accepted, refused = desk.sent.replies
    assert {reply.outcome for reply in accepted} == {"accepted"}
    assert code(refused) == "dependency-cycle"
    assert refused.problem is not None
    assert path in refused.problem.detail


async def test_a_cycle_within_a_message_of_many_tasks_refuses_the_one_that_closes_it() -> None:
    desk = Desk()

    reply = await desk.reply(
        command("task.submit-tasks.v1", {"tasks": [needing("a", "~b"), needing("b", "~c"), needing("c", "a")]})
    )

    assert reply.tasks is not None
    assert [one.problem.code if one.problem else one.outcome for one in reply.tasks] == [
        "accepted",
        "accepted",
        "dependency-cycle",
    ]
    assert "c" not in submitted(desk)


async def test_a_task_that_waits_no_more_closes_no_cycle() -> None:
    desk = Desk()
    await desk.reply(task("T1", "~T0"))
    await desk.reply(command("task.cancel.v1", {"task_id": "T1"}, COMMAND_2))

    assert code(await desk.reply(task("T0", "T1"))) == "accepted"


async def test_two_handlers_that_close_a_cycle_at_the_same_time_do_not_both_succeed() -> None:
    store = ContendedStore(MemoryLog(Hands()))
    desk, other = Desk(store=store), Desk(store=store)
    other.new_id.count = 100
    store.intrude = lambda: other.handle([task("T1", "~T0")])

    reply = await desk.reply(task("T0", "~T1"))

    assert code(reply) == "dependency-cycle"
    assert [one.outcome for one in other.sent.replies] == ["accepted"]


async def test_two_handlers_that_know_both_names_as_promised_do_not_both_close_the_cycle() -> None:
    store = ContendedStore(MemoryLog(Hands()))
    desk, other = Desk(store=store), Desk(store=store)
    other.new_id.count = 100
    await desk.handle([task("Z", "~T0", "~T1")])
    store.intrude = lambda: other.handle([task("Y", "~T1"), task("T1", "~T0")])

    await desk.handle([task("X", "~T0"), task("T0", "~T1")])

    assert code(desk.sent.replies[-1]) == "dependency-cycle"


async def test_two_handlers_that_close_a_cycle_through_others_do_not_both_succeed() -> None:
    store = ContendedStore(MemoryLog(Hands()))
    desk, other = Desk(store=store), Desk(store=store)
    other.new_id.count = 100
    await desk.handle([task("Q", "~M"), task("P", "~L")])
    store.intrude = lambda: other.handle([task("X", "~M"), task("M", "P")])

    await desk.handle([task("Y", "~L"), task("L", "Q")])

    reply = desk.sent.replies[-1]
    assert code(reply) == "dependency-cycle"
    assert reply.problem is not None
    assert "L -> Q -> M -> P -> L" in reply.problem.detail


async def test_a_task_that_others_wait_for_is_refused_when_too_much_is_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promising, "LIMIT", 5)
    desk = Desk()
    await desk.handle([task("X", "~T0"), task("c0", "~X2"), *(task(f"c{n}", f"c{n - 1}") for n in range(1, 8))])

    near = await desk.reply(task("T0", "c2"))
    far = await desk.reply(task("X2", "c7"))

    assert code(near) == "accepted"
    assert code(far) == "too-many-tasks"


async def test_a_task_that_others_wait_for_is_refused_when_too_long_a_chain_is_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promising, "DEEPEST", 5)
    desk = Desk()
    await desk.handle([task("X", "~T0"), task("c0", "~X2"), *(task(f"c{n}", f"c{n - 1}") for n in range(1, 8))])

    near = await desk.reply(task("T0", "c3"))
    far = await desk.reply(task("X2", "c7"))

    assert code(near) == "accepted"
    assert code(far) == "too-many-tasks"
    assert far.problem is not None
    assert "submit X2 before those that need it" in far.problem.detail


async def test_a_task_that_others_wait_for_is_refused_when_very_large_ones_are_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promising, "AT_ONCE", 1)
    desk = Desk()
    large = [submit({**needing(f"c{n}", "~T0"), "input": {"x": "y" * 900}}, UUID(int=n)) for n in range(1, 9)]
    await desk.handle([task("X", "~T1"), *large, task("few", "c1", "c2"), task("all", *(f"c{n}" for n in range(1, 9)))])
    most = sum(len(row.body) for row in desk.store.log.events) // 2
    monkeypatch.setattr(promising, "MOST_BYTES", most)

    assert code(await desk.reply(task("T1", "few"))) == "accepted"
    assert code(await desk.reply(task("T0", "all"))) == "too-many-tasks"


async def test_who_is_refused_for_a_long_chain_is_so_also_beside_others_that_have_seen_more_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promising, "DEEPEST", 5)
    desk = Desk()
    await desk.handle([task("c0", "~X", "~Y"), *(task(f"c{n}", f"c{n - 1}") for n in range(1, 20))])

    await desk.handle([task("X", "c19"), task("Y", "c12")])

    assert [code(reply) for reply in desk.sent.replies[-2:]] == ["too-many-tasks"] * 2


async def test_a_long_cycle_is_told_by_its_ends() -> None:
    desk = Desk()
    await desk.handle([task("c0", "~X"), *(task(f"c{n}", f"c{n - 1}") for n in range(1, 60))])

    reply = await desk.reply(task("X", "c59"))

    assert code(reply) == "dependency-cycle"
    assert reply.problem is not None
    assert reply.problem.detail.startswith("X -> c59 -> ")
    assert "c51 -> (42 more) -> c8 -> " in reply.problem.detail
    assert reply.problem.detail.endswith("c0 -> X; remove one of these dependencies")


async def test_what_tasks_wait_for_is_looked_up_a_step_at_a_time_and_once() -> None:
    desk = Desk()
    await desk.handle([task("a", "~z"), task("b", "a", "~y"), task("c", "a", "b"), task("d")])
    ids, asked = streams(desk), list[list[UUID]]()

    class Asked(MemoryHandlerStore):
        async def load(self, streams: Any) -> dict[UUID, list[Any]]:
            asked.append(list(streams))
            return await MemoryHandlerStore.load(self, streams)

    loaded: dict[UUID, Any] = {}
    unseen = await look_upstream(Asked(desk.store.log), loaded, [{ids["c"]}, {ids["b"], ids["d"]}])

    assert unseen == frozenset()
    assert set(loaded) == set(ids.values())
    assert len(asked) == 3
    assert len({one for some in asked for one in some}) == sum(map(len, asked))


async def test_what_a_task_needs_is_not_loaded_only_because_it_is_named() -> None:
    class Asked(MemoryHandlerStore):
        async def load(self, streams: Any) -> dict[UUID, list[Any]]:
            asked.extend(streams)
            return await MemoryHandlerStore.load(self, streams)

    asked: list[UUID] = []
    desk = Desk(store=Asked(MemoryLog(Hands())))
    await desk.handle([task("a"), task("b", "a")])
    asked.clear()

    assert code(await desk.reply(task("c", "a", "b"))) == "accepted"
    assert code(await desk.reply(workflow(COMMAND, needing("d", "a"), needing("e", "d")))) == "accepted"
    assert asked == []
    assert code(await desk.reply(command("task.cancel.v1", {"task_id": "b"}, COMMAND_2))) == "accepted"
    assert asked == [streams(desk)["b"]]


@pytest.mark.parametrize(
    ("needs", "problem"),
    [
        ([{"task_id": str(COMMAND), "forward": "PT1H"}], "forward waits for a name"),
        ([{"task_id": "T0", "forward": "PT0S"}], "greater than 0"),
        ([{"task_id": "T0", "forward": "P366D"}], "less than or equal to 365 days"),
        ([{"task_id": "T0", "forward": "PT1H"}, {"task_id": "T0"}], "two values of forward"),
    ],
)
async def test_a_forward_reference_that_cannot_be_meant_is_refused(needs: list[dict[str, Any]], problem: str) -> None:
    reply = await Desk().reply(submit({"task_id": "T1", "depends_on": needs}))

    assert code(reply) == "schema"
    assert reply.problem is not None
    assert problem in reply.problem.detail


async def test_a_task_cannot_wait_for_itself_to_come() -> None:
    desk = Desk()

    assert code(await desk.reply(task("T0", "~T0"))) == "self-dependency"
    assert desk.store.names == {}


NAMES = "abcdef"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """What each of some tasks needs of the others, cycles and all."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    return {name: sorted(draw(st.sets(st.sampled_from(names.replace(name, "")), max_size=3))) for name in names}


def acyclic(graph: dict[str, list[str]]) -> bool:
    left = dict(graph)
    while ready := [name for name, needs in left.items() if not set(needs) & left.keys()]:
        for name in ready:
            del left[name]
    return not left


@settings(max_examples=150)
@given(st.data(), graphs())
async def test_tasks_submitted_in_any_order_make_the_same_graph_or_a_refused_cycle(
    data: st.DataObject, graph: dict[str, list[str]]
) -> None:
    desk, accepted = Desk(), dict[str, list[str]]()
    order = data.draw(st.permutations(sorted(graph)))
    deliveries = [task(name, *(f"~{need}" for need in graph[name])) for name in order]
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        await desk.handle(deliveries[:size])
        deliveries = deliveries[size:]

    for name, reply in zip(order, desk.sent.replies, strict=True):
        closes = not acyclic({**accepted, name: graph[name]})
        assert code(reply) == ("dependency-cycle" if closes else "accepted")
        if not closes:
            accepted[name] = graph[name]

    ids = streams(desk)
    assert {name: sorted(needs) for name, needs in edges(desk).items()} == accepted
    for needs in edges(desk).values():
        for name, stream in needs.items():
            assert ids.get(name, stream) == stream
    promised = {key.name for key, named in desk.store.names.items() if named.promised}
    assert promised == {need for needs in accepted.values() for need in needs} - accepted.keys()
    loaded = await desk.store.load(list(ids.values()))
    waiting = {name for name, stream in ids.items() if isinstance(task_of(loaded[stream]), Blocked)}
    assert waiting == {name for name, needs in accepted.items() if needs}
