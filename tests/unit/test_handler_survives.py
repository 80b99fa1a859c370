"""No command, whatever it names and in whatever company it comes, ends the handler or goes without an answer."""

import asyncio
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.folding import task_of, worker_of, workflow_of
from domain.ids import derived_id
from domain.ports.broker import Delivery
from tests.support.commands import COMMAND, Desk, command

IDS = [derived_id(COMMAND, f"fresh:{n}") for n in range(1, 12)]
"""What the desk's first streams are called."""
WORKER = derived_id(UUID(int=0), "worker:W1")
NAMES = st.sampled_from(["a", "b", "F1", *map(str, IDS), str(WORKER)])
NAMESPACES = st.sampled_from(["default", "analytics"])
NEEDS = st.lists(st.fixed_dictionaries({"task_id": NAMES}), max_size=2)
TASKS = st.fixed_dictionaries(
    {"executor": st.just("noop"), "depends_on": NEEDS}, optional={"task_id": NAMES, "priority": st.integers(0, 11)}
)
TASK_LISTS = st.lists(TASKS, min_size=1, max_size=3)
BODIES: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("task.submit.v1"), TASKS),
    st.tuples(st.just("task.submit-tasks.v1"), st.fixed_dictionaries({"tasks": TASK_LISTS})),
    st.tuples(
        st.just("task.submit-workflow.v1"),
        st.fixed_dictionaries({"tasks": TASK_LISTS}, optional={"workflow_id": NAMES}),
    ),
    st.tuples(st.just("task.cancel.v1"), st.fixed_dictionaries({"task_id": NAMES})),
    st.tuples(st.just("workflow.cancel.v1"), st.fixed_dictionaries({"workflow_id": NAMES})),
)
REGISTRATION = command("worker.register.v1", {"worker_id": "W1", "instance": str(UUID(int=1)), "engine": "e"})


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    name, data = draw(BODIES)
    number = draw(st.integers(1, 12))
    return command(name, {**data, "namespace": draw(NAMESPACES)}, UUID(int=number), tag=number)


@given(st.lists(st.lists(deliveries(), min_size=1, max_size=6), min_size=1, max_size=5))
def test_every_command_has_its_answer_and_every_stream_a_history(batches: list[list[Delivery]]) -> None:
    desk = Desk()

    async def handle() -> None:
        await desk.report([REGISTRATION])
        for batch in batches:
            await desk.handle(batch)

    asyncio.run(handle())

    asked = {UUID(delivery.message_id) for batch in batches for delivery in batch if delivery.message_id}
    assert {reply.command_id for reply in desk.sent.replies} - {COMMAND} == asked
    streams = {event.stream for event in desk.store.log.events}
    for stream, events in desk.store.log.load(sorted(streams)).items():
        fold = {"task": task_of, "workflow": workflow_of, "worker": worker_of}[events[0].type.partition(".")[0]]
        assert fold(events) is not None
        assert [event.version for event in events] == list(range(1, len(events) + 1)), stream
    assert desk.store.dead_letters == []
