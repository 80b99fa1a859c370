"""What every implementation of the Traces port promises."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from adapters.in_memory.traces import NoTraces
from adapters.traces import OtelTraces, SpanIds
from domain.messages import Cause
from domain.ports.tracing import Traces

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
OTHER = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"


def cause(traceparent: str | None = None, tracestate: str | None = None) -> Cause:
    return Cause("chain", "command", "alice", traceparent, tracestate)


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """The spans that were kept and have ended."""
    return InMemorySpanExporter()


@pytest.fixture(params=["off", "on", "unsampled"])
def mode(request: pytest.FixtureRequest) -> str:
    """`unsampled`: of new traces none is kept; those that come from outside are, if they are sampled."""
    return str(request.param)


@pytest.fixture
def traces(mode: str, exported: InMemorySpanExporter) -> Iterator[Traces]:
    if mode == "off":
        yield NoTraces()
        return
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON if mode == "on" else ALWAYS_OFF),
        id_generator=SpanIds(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(exported))
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


def test_attributes_are_computed_for_spans_that_are_kept_and_for_no_others(
    traces: Traces, mode: str, exported: InMemorySpanExporter
) -> None:
    computed: list[str] = []

    def of(name: str) -> dict[str, str | int]:
        computed.append(name)
        return {name: "said"}

    with traces.step("run nightly", cause(), attributes=lambda: of("early")):
        traces.note(lambda: of("late"))

    kept = [dict(span.attributes or {}) for span in exported.get_finished_spans()]
    assert computed == (["early", "late"] if mode == "on" else [])
    assert kept == ([{"early": "said", "late": "said"}] if mode == "on" else [])


def test_a_note_is_of_the_innermost_step_though_that_is_not_sampled(
    traces: Traces, mode: str, exported: InMemorySpanExporter
) -> None:
    with traces.step("process", cause(SAMPLED)), traces.step("process", cause(UNSAMPLED)):
        traces.note(lambda: {"noted": "inside"})

    kept = [dict(span.attributes or {}) for span in exported.get_finished_spans()]
    assert kept == ([] if mode == "off" else [{}])


def test_a_note_outside_of_any_step_is_dropped(traces: Traces) -> None:
    traces.note(lambda: {"noted": "outside"})


def test_a_step_of_many_causes_is_linked_to_each_that_is_sampled_once(
    traces: Traces, mode: str, exported: InMemorySpanExporter
) -> None:
    causes = [cause(UNSAMPLED), cause(SAMPLED), cause(OTHER), cause(), cause("nonsense"), cause(OTHER, "vendor=1")]
    with traces.step("append task", causes[1], "client", links=lambda: causes):
        pass

    kept = [_links(span) for span in exported.get_finished_spans()]
    assert kept == ([] if mode == "off" else [[OTHER[3:52]]])


def test_a_step_of_many_causes_is_in_the_first_trace_that_is_sampled(
    traces: Traces, mode: str, exported: InMemorySpanExporter
) -> None:
    causes = [cause(UNSAMPLED), cause(OTHER), cause(SAMPLED)]
    with traces.step("append task", causes[0], "client", links=lambda: causes) as inside:
        assert inside is causes[0]

    kept = [
        (f"{span.parent.span_id:016x}" if span.parent else "", *_links(span)) for span in exported.get_finished_spans()
    ]
    assert kept == ([] if mode == "off" else [(OTHER[36:52], SAMPLED[3:52])])


def _links(span: ReadableSpan) -> list[str]:
    return [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]
