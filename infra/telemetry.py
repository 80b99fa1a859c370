"""What a process says of itself: spans by OTLP, and logs as JSON lines on stderr with the ids of what is being done."""

import logging
import sys
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import orjson
import structlog

from adapters.doing import now
from adapters.in_memory.traces import NoTraces
from domain.ports.tracing import Traces
from infra.setting_groups import Log, Otel
from infra.settings import Settings

QUIET = ("aio_pika", "aiormq", "urllib3", "docker", "httpcore2", "httpx2", "opentelemetry")


@contextmanager
def telemetry(settings: Settings, process: str) -> Generator[Traces]:
    """Logs for the whole process, and its spans until the block ends; then what is left of them is sent, 5 s at most.

    `process` is the name after `tally serve`; `service.name` is `tally-<process>`.
    """
    start_logs(settings.log, process)
    with tracing(settings.otel, process) as traces:
        yield traces


@contextmanager
def tracing(settings: Otel, process: str) -> Generator[Traces]:
    """Spans sent to `otel.endpoint`, or none at all."""
    if settings.endpoint is None:
        yield NoTraces()
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from adapters.traces import OtelTraces, SpanIds

    resource = Resource.create(
        {
            "service.name": f"tally-{process}",
            "service.namespace": "tallyport",
            "service.version": version("tallyport"),
            "service.instance.id": str(uuid4()),
        }
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        resource=resource,
        id_generator=SpanIds(),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    try:
        yield OtelTraces(provider.get_tracer("tallyport", version("tallyport")))
    finally:
        provider.force_flush(5_000)
        provider.shutdown()


def start_logs(settings: Log, process: str) -> None:
    """One line an entry on stderr, of structlog's and of every library's logger. Safe to call again."""
    console = settings.format == "console" or (settings.format is None and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_process(process),
        _with_step,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _json(entry: dict[str, Any], **_: object) -> str:
    return orjson.dumps(entry, default=str).decode()


def _with_process(process: str) -> Callable[..., MutableMapping[str, Any]]:
    def add(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry.setdefault("process", process)
        return entry

    return add


def _with_step(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    doing = now.get()
    if doing is not None:
        entry.setdefault("correlation_id", doing.cause.correlation_id)
        if doing.task_id:
            entry.setdefault("task_id", doing.task_id)
        if doing.cause.traceparent:
            entry.setdefault("trace_id", doing.cause.traceparent[3:35])
            entry.setdefault("span_id", doing.cause.traceparent[36:52])
    return entry
