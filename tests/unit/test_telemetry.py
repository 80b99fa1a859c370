import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from adapters.counting import COUNTERS, HISTOGRAMS
from adapters.in_memory.traces import NoTraces
from adapters.measuring import GAUGES
from domain.messages import Cause
from infra.dev.otlp_receiver import Received, Span, otlp_receiver, tree
from infra.setting_groups import Log, Otel
from infra.telemetry import start_logs, tracing

CAUSE = Cause("chain", "command", "alice")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver() -> Iterator[Received]:
    with otlp_receiver() as received:
        yield received


@pytest.fixture
def logs() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.reset_defaults()


def test_steps_arrive_at_a_receiver_as_one_connected_tree(receiver: Received) -> None:
    with tracing(Otel(endpoint=receiver.endpoint, sample=1), "handler") as traces:
        with (
            traces.step("send task.commands", CAUSE, "producer") as sent,
            traces.step("process task.commands.handler", sent, "consumer", {"messaging.system": "rabbitmq"}) as handled,
            traces.step("append task", handled, "client"),
        ):
            pass
        with pytest.raises(ZeroDivisionError), traces.step("process notifier", handled):
            raise ZeroDivisionError

    spans = receiver.wait_for(lambda spans: len(spans) == 4)
    found = tree(spans)
    assert found.connected
    assert [(depth, span.name, span.kind) for depth, span in found.walk()] == [
        (0, "send task.commands", "producer"),
        (1, "process task.commands.handler", "consumer"),
        (2, "append task", "client"),
        (2, "process notifier", "internal"),
    ]
    assert {span.trace_id for span in spans} == {sent.traceparent[3:35]} if sent.traceparent else False
    assert {span.service for span in spans} == {"tally-handler"}
    assert [span.name for span in spans if span.failed] == ["process notifier"]
    handler = next(span for span in spans if span.kind == "consumer")
    assert handler.attributes["messaging.system"] == "rabbitmq"


def test_a_trace_that_is_not_kept_is_not_taken_up_again_further_on(receiver: Received) -> None:
    with tracing(Otel(endpoint=receiver.endpoint, sample=0), "api") as traces, traces.step("send", CAUSE) as sent:
        assert sent.traceparent is not None
        assert int(sent.traceparent[-2:], 16) & 1 == 0
    with tracing(Otel(endpoint=receiver.endpoint, sample=1), "handler") as traces, traces.step("process", sent):
        pass
    assert receiver.spans == []


def test_without_an_endpoint_nothing_is_traced() -> None:
    with tracing(Otel(), "handler") as traces:
        assert isinstance(traces, NoTraces)


def test_a_span_whose_parent_never_came_is_a_gap() -> None:
    def span(span_id: str, parent: str) -> Span:
        return Span("t", span_id, parent, span_id, "internal", "s", 1, 2, False, {})

    assert tree([span("a", ""), span("b", "a")]).connected
    assert not tree([span("a", ""), span("b", "lost")]).connected
    assert not tree([span("a", ""), span("b", "")]).connected
    assert tree([span("a", "caller"), span("b", "a")], remote_parent="caller").connected


def test_log_lines_are_json_with_the_ids_of_the_step(logs: None, capsys: pytest.CaptureFixture[str]) -> None:
    start_logs(Log(format="json"), "handler")
    step = NoTraces().step("process", Cause("chain", "c", "a", TRACEPARENT), "consumer", {"tally.task.id": "T1"})
    with step:
        structlog.get_logger().info("decided", events=2)
        logging.getLogger("another.package").warning("said %s", "this")

    own, library = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert own["event"] == "decided"
    assert (own["level"], own["process"], own["events"]) == ("info", "handler", 2)
    assert library["event"] == "said this"
    for entry in (own, library):
        assert entry["trace_id"] == TRACEPARENT[3:35]
        assert entry["correlation_id"] == "chain"
        assert entry["task_id"] == "T1"
        assert entry["time"].endswith("Z")


def test_every_metric_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    named = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert named == {*GAUGES, *HISTOGRAMS, *COUNTERS, "http.server.request.duration"}
