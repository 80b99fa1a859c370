"""What the spans of the main path say, and how they hang together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.in_memory.platform import MemoryPlatform
from api.client import Client, Task
from consumers.outfitting import outfit
from domain.ids import derived_id
from domain.work import OfferedRun
from tests.support import runs
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, Desk, Ids, submit
from tests.support.docks import Dock, Platform, offer, offered, stop
from tests.support.ended_tasks import Hands
from tests.support.runs import RUN, TASK
from tests.support.spans import KeptTraces

WORKFLOW = derived_id(TASK, "workflow")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
UNSAMPLED = "00-2cf7651916cd43dd8448eb211c80319c-d7ad6b7169203331-00"


async def test_a_batch_is_appended_in_one_trace_and_linked_to_the_others() -> None:
    desk, traces = Desk(), KeptTraces()
    handle = replace(desk.handle, traces=traces)
    given = {COMMAND: UNSAMPLED, COMMAND_2: TRACE, COMMAND_3: OTHER}

    await handle([submit({}, command, headers={"traceparent": trace}) for command, trace in given.items()])

    contexts = [span.get_span_context() for span in traces.named("process task.commands.handler")]
    processed = {context.trace_id: context.span_id for context in contexts if context}
    (append,) = traces.named("append task")
    assert len(processed) == 2
    assert append.parent is not None
    assert append.parent.span_id == processed[int(TRACE[3:35], 16)]
    assert [link.context.span_id for link in append.links] == [processed[int(OTHER[3:35], 16)]]


async def test_a_handled_command_says_how_it_came_in() -> None:
    desk, traces = Desk(), KeptTraces()
    handle = replace(desk.handle, traces=traces)

    await handle([submit({}, COMMAND, correlation_id="chain", headers={"traceparent": TRACE})])

    assert traces.attributes("process task.commands.handler") == [
        {
            "messaging.system": "rabbitmq",
            "messaging.destination.name": "task.commands.handler",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": str(COMMAND),
            "messaging.message.conversation_id": "chain",
            "messaging.rabbitmq.destination.routing_key": "task.submit.default",
        }
    ]


async def test_a_sent_command_says_where_it_goes() -> None:
    platform, traces = MemoryPlatform(Hands(), {}), KeptTraces()

    await Client(platform, platform, Ids(), traces, "analytics").submit(Task("nightly", executor="noop"))

    (said,) = traces.attributes("send task.commands")
    command = said["messaging.message.id"]
    assert said == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "task.commands",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.id": command,
        "messaging.message.conversation_id": command,
        "messaging.rabbitmq.destination.routing_key": "task.submit.analytics",
    }


def whole(result: str, **more: object) -> dict[str, object]:
    """What the span of the run `hello` of workflow `etl` says when it ends with `result`."""
    return {
        "tally.task.id": str(TASK),
        "cicd.pipeline.name": "etl",
        "cicd.pipeline.run.id": str(WORKFLOW),
        "cicd.pipeline.task.name": "hello",
        "cicd.pipeline.task.run.id": str(RUN),
        "cicd.pipeline.task.run.result": result,
        **more,
    }


def of_workflow(run: OfferedRun) -> OfferedRun:
    spec = run.spec.model_copy(update={"workflow_id": "etl", "workflow": WORKFLOW})
    return run.model_copy(update={"spec": spec, "traceparent": TRACE})


@asynccontextmanager
async def worker(dock: Dock, platform: Platform, traces: KeptTraces, who: str = "first") -> AsyncGenerator[None]:
    task = asyncio.create_task(outfit(replace(dock.given(platform, who), traces=traces)).run(asyncio.Event()))
    try:
        await platform.beat(1)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("command", "result"), [(runs.TRUE, "success"), (runs.SPEAK, "failure"), (runs.HUNGRY, "failure")]
)
async def test_the_span_of_a_run_says_whose_it_is_what_ran_and_how_it_ended(
    command: tuple[str, ...], result: str
) -> None:
    platform, traces = Platform(), KeptTraces()
    async with worker(Dock(), platform, traces):
        platform.tell(offer(of_workflow(offered(command))))
        finish = await platform.finish()

    assert traces.attributes("run hello") == [
        whole(
            result,
            **{
                "container.id": finish.container_id,
                "container.image.name": runs.BUSYBOX,
                "container.image.repo_digests": (f"tallyport/busybox@{finish.image_digest}",),
                "container.runtime.name": "docker",
            },
        )
    ]


async def test_the_span_of_a_run_that_is_stopped_says_why() -> None:
    results: dict[str, str] = {}
    for why in ("cancel", "timeout"):
        platform, traces = Platform(), KeptTraces()
        async with worker(Dock(), platform, traces):
            platform.tell(offer(of_workflow(offered(runs.POLITE))))
            await platform.start()
            platform.tell(stop().model_copy(update={"why": why}))
            await platform.finish()
        (said,) = traces.attributes("run hello")
        results[why] = said["cicd.pipeline.task.run.result"]

    assert results == {"cancel": "cancellation", "timeout": "timeout"}


async def test_the_span_of_a_run_that_could_not_start_says_so_and_names_no_container() -> None:
    platform, traces = Platform(), KeptTraces()
    async with worker(Dock(), platform, traces):
        platform.tell(offer(of_workflow(offered(runs.TRUE, image="nobody/knows:it", pull=0.01))))
        await platform.finish()

    started = {"container.image.name": "nobody/knows:it", "container.runtime.name": "docker"}
    assert traces.attributes("run hello") == [whole("error", **started)]


async def test_the_span_of_an_adopted_run_says_all_of_it_again() -> None:
    platform, dock, traces = Platform(), Dock(), KeptTraces()
    async with worker(dock, platform, KeptTraces()):
        platform.tell(offer(of_workflow(offered(runs.SLEEP))))
        start = await platform.start()
    async with worker(dock, again := Platform(), traces, "second"):
        await dock.containers.end(RUN, 0)
        await again.finish()

    image = f"tallyport/busybox@{start.image_digest}"
    container = {"container.id": start.container_id, "container.image.name": runs.BUSYBOX}
    more = {"container.image.repo_digests": (image,), "container.runtime.name": "docker"}
    assert traces.attributes("run hello") == [whole("success", **container, **more)]


async def test_the_span_of_a_run_of_nothing_says_whose_it_is() -> None:
    platform, traces = Platform(), KeptTraces()
    async with worker(Dock(), platform, traces):
        platform.tell(offer(of_workflow(offered(executor="noop"))))
        await platform.finish()

    assert traces.attributes("run hello") == [whole("success")]


async def test_the_span_of_a_run_outside_of_any_workflow_names_no_pipeline() -> None:
    platform, traces = Platform(), KeptTraces()
    async with worker(Dock(), platform, traces):
        platform.tell(offer(offered(executor="noop")))
        await platform.finish()

    (said,) = traces.attributes("run hello")
    assert {"cicd.pipeline.name", "cicd.pipeline.run.id"}.isdisjoint(said)
