"""What every implementation of the Traces port promises."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from adapters.in_memory.traces import NoTraces
from adapters.traces import OtelTraces, SpanIds
from domain.messages import Cause
from domain.ports.tracing import Traces

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def cause(traceparent: str | None = None, tracestate: str | None = None) -> Cause:
    return Cause("chain", "command", "alice", traceparent, tracestate)


@pytest.fixture(params=["off", "on", "unsampled"])
def traces(request: pytest.FixtureRequest) -> Iterator[Traces]:
    if request.param == "off":
        yield NoTraces()
        return
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON if request.param == "on" else ALWAYS_OFF),
        id_generator=SpanIds(),
        shutdown_on_exit=False,
    )
    yield OtelTraces(provider.get_tracer("test"))
    provider.shutdown()


@pytest.mark.parametrize("given", [cause(), cause(SAMPLED, "vendor=1"), cause(UNSAMPLED), cause("nonsense")])
def test_a_step_keeps_everything_of_its_cause_but_the_trace_context(traces: Traces, given: Cause) -> None:
    with traces.step("process conductor", given, "consumer", {"tally.task.id": "T1"}) as inside:
        assert (inside.correlation_id, inside.causation_id, inside.actor) == ("chain", "command", "alice")


@pytest.mark.parametrize("given", [SAMPLED, UNSAMPLED])
def test_a_step_stays_in_the_trace_of_its_cause(traces: Traces, given: str) -> None:
    with traces.step("process conductor", cause(given, "vendor=1")) as inside:
        assert inside.traceparent is not None
        assert inside.traceparent[3:35] == given[3:35]
        assert inside.tracestate == "vendor=1"
        with traces.step("append task", inside, "client") as further:
            assert further.traceparent is not None
            assert further.traceparent[3:35] == given[3:35]


def test_an_unsampled_cause_passes_through_untouched(traces: Traces) -> None:
    given = cause(UNSAMPLED)
    with traces.step("process conductor", given) as inside:
        assert inside is given


def test_an_exception_goes_on_through_a_step(traces: Traces) -> None:
    with pytest.raises(ZeroDivisionError), traces.step("process conductor", cause(SAMPLED)):
        raise ZeroDivisionError


def test_a_run_is_the_same_span_in_whichever_process_it_goes_on(traces: Traces) -> None:
    with traces.step("run nightly", cause(SAMPLED), "run") as first:
        pass
    with traces.step("run nightly", cause(SAMPLED), "run") as adopted:
        assert adopted.traceparent == first.traceparent


def test_runs_of_different_causes_are_different_spans(traces: Traces) -> None:
    with traces.step("run nightly", cause(SAMPLED), "run") as outer, traces.step("run nightly", outer, "run") as other:
        assert other is outer or other.traceparent != outer.traceparent
