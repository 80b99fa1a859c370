"""Metrics for Prometheus, named by OpenTelemetry's conventions: requests as they come, the rest when asked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from adapters.counting import LogCounts
from adapters.reading import Reader

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OPEN = "('blocked', 'queued', 'running', 'cancelling')"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure that a query gives: its value first, then the values of `labels`."""

    unit: str
    meaning: str
    query: str
    labels: tuple[str, ...] = ()


GAUGES: Mapping[str, Gauge] = {
    "tally.task.queue.depth": Gauge(
        "{task}",
        "Tasks that have not ended",
        f"SELECT count(*), namespace, status FROM tasks WHERE status IN {OPEN} GROUP BY namespace, status",
        ("namespace", "status"),
    ),
    "tally.task.queue.oldest_age": Gauge(
        "s",
        "How long the oldest queued task has waited",
        "SELECT extract(epoch FROM clock_timestamp() - min(queued_at))::float8, namespace FROM tasks "
        "WHERE status = 'queued' GROUP BY namespace",
        ("namespace",),
    ),
    "tally.projection.lag": Gauge(
        "{event}",
        "Events that a follower of the log has yet to deal with",
        "SELECT greatest((SELECT coalesce(max(notification_id), 0) FROM events) - position, 0), name FROM consumers",
        ("name",),
    ),
    "tally.projection.lag.seconds": Gauge(
        "s",
        "How long the oldest event has waited that a follower has yet to deal with",
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - (SELECT recorded_at FROM events "
        "WHERE notification_id > position ORDER BY notification_id LIMIT 1)), 0)::float8, name "
        "FROM consumers WHERE name IN ('projector', 'relay')",
        ("name",),
    ),
    "tally.dead_letters": Gauge("{message}", "Messages that nobody could judge", "SELECT count(*) FROM dead_letters"),
    "cicd.worker.count": Gauge(
        "{worker}",
        "Workers by state",
        "SELECT count(*), status FROM workers GROUP BY status",
        ("cicd.worker.state",),
    ),
    "cicd.pipeline.run.active": Gauge("{run}", "Runs that workers hold", "SELECT count(*) FROM leases"),
}


class Prometheus:
    """The metrics of one API process, and of the platform it reads."""

    def __init__(self, reader: Reader, version: str) -> None:
        self._reader, self._registry = reader, CollectorRegistry()
        self._counts = LogCounts(reader)
        self._registry.register(self._counts)
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        exporter = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)
        meter = MeterProvider([exporter], shutdown_on_exit=False).get_meter("tallyport", version)
        self._requests = meter.create_histogram(
            "http.server.request.duration",
            "s",
            "Time to answer",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        for name, gauge in GAUGES.items():
            meter.create_observable_gauge(name, [self._observed(name, gauge)], gauge.unit, gauge.meaning)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request; templates as labels, never ids."""
        self._requests.record(
            seconds,
            {"http.request.method": method, "http.route": route, "http.response.status_code": status},
        )

    async def text(self) -> bytes:
        """All figures of now, in Prometheus' text format. Raises Unavailable."""
        for name, gauge in GAUGES.items():
            self._rows[name] = await self._reader.rows(gauge.query)
        await self._counts.look()
        return generate_latest(self._registry)

    def _observed(self, name: str, gauge: Gauge) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for value, *labels in self._rows.get(name, ()):
                yield Observation(value, dict(zip(gauge.labels, labels, strict=True)))

        return observe
