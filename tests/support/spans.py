"""Spans kept in memory."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.traces import OtelTraces, SpanIds


class KeptTraces(OtelTraces):
    """Traces that keep every sampled span once it has ended; a new trace is sampled."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(id_generator=SpanIds(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        super().__init__(provider.get_tracer("test"))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._kept.get_finished_spans() if span.name == name]

    def attributes(self, name: str) -> list[Mapping[str, Any]]:
        """The attributes of each span of that name."""
        return [dict(span.attributes or {}) for span in self.named(name)]
