"""One trace runs from the published command to the container and the notification, across a killed worker."""

import asyncio
import base64

import pytest
from standardwebhooks import Webhook

from infra.dev.otlp_receiver import Span, otlp_receiver, tree
from tests.support.platform import BUSYBOX, MakePlatform
from tests.support.receiver import receiving
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or so").decode()
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
PROCESSES = ("handler", "conductor", "messenger", "projector", "logkeeper", "notifier", "worker")


def test_a_task_s_trace_is_one_tree_from_command_to_notification(make_platform: MakePlatform) -> None:
    async def scenario() -> tuple[list[Span], bytes, dict[str, str]]:
        with otlp_receiver() as received:
            async with receiving() as webhooks:
                settings = {
                    "TALLY_OTEL__ENDPOINT": received.endpoint,
                    "TALLY_NOTIFY__OPS__URL": f"webhook+http://127.0.0.1:{webhooks.port}/hook",
                    "TALLY_NOTIFY__OPS__SECRET": SECRET,
                }

                def run() -> None:
                    with make_platform(PROCESSES, **settings) as tally:
                        container = {"image": BUSYBOX, "command": ["sh", "-c", "sleep 2; echo $TRACEPARENT"]}
                        task = {"task_id": "traced", "container": container, "notify": ["ops"]}
                        tally.publish("task.submit.v1", task, headers={"traceparent": TRACEPARENT})
                        tally.wait_for("task.run-started.v1", "traced")
                        tally.system.kill("worker")
                        tally.system.start("worker")
                        assert tally.wait_ended("traced") == {"traced": "succeeded"}
                        tally.wait_caught_up("notifier")
                        until(lambda: bool(webhooks.requests), "a webhook", 20)

                await asyncio.to_thread(run)
                request = webhooks.requests[0]
            until(lambda: _whole(received.trace(TRACE)), "every span's parent", 20)
            return received.trace(TRACE), request.body, request.headers

    spans, body, headers = asyncio.run(scenario())

    names = {span.name for span in spans}
    assert names >= {
        "process task.commands.handler",
        "append task",
        "process conductor",
        "send task.work",
        "process task.reports.handler",
        "process notifier",
    }
    assert Webhook(SECRET).verify(body, headers)["type"] == "task.succeeded.v1"


def _whole(spans: list[Span]) -> bool:
    found = tree(spans, remote_parent=PARENT)
    return found.connected and any(span.name == "process notifier" for span in spans)
