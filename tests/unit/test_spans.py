"""What the spans of the main path say, and how they hang together."""

from dataclasses import replace

from adapters.in_memory.platform import MemoryPlatform
from api.client import Client, Task
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, Desk, Ids, submit
from tests.support.ended_tasks import Hands
from tests.support.spans import KeptTraces

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
