"""Durations and counts from the log for Prometheus: each event once, at the first look that finds it."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from adapters.reading import Reader, TooLong
from domain import events as e

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)
EVENTS_A_PAGE, FEWEST = 50_000, 1000
"""Some 0.3 s of the database's time. A page that takes too long is halved, down to the fewest."""
LOOK_SECONDS = 1.0
"""A look begins no page after these; what is left over is found at the next look."""
EASY_SECONDS = 0.5
"""Only a page that took less makes the next one larger."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spans:
    """A duration, in seconds: from which event on it lasts until one of `ends`, and what tells the last of `labels`."""

    meaning: str
    ends: tuple[str, ...]
    since: str
    labels: tuple[str, ...] = ("namespace",)
    said: str = "NULL"


@dataclass(frozen=True, slots=True)
class Counter:
    """How often something has happened: an event `of` this type says it."""

    meaning: str
    of: str


_BEFORE = "FROM events b WHERE b.originator_id = page.originator_id AND b.originator_version"
_FACTS = "convert_from(state, 'UTF8')::jsonb"
_OTHER_ENDS = [
    f"coalesce(({_FACTS}->>'{end}')::int, 0)"
    for end in e.WorkflowFinished.model_fields
    if end not in {"workflow_id", "succeeded"}
]
HISTOGRAMS: Mapping[str, Spans] = {
    "tally.task.wait.duration": Spans(
        "How long tasks were queued before each lease",
        (e.RunLeased.TYPE,),
        f"SELECT b.recorded_at {_BEFORE} = page.originator_version - 1 AND b.topic = '{e.TaskQueued.TYPE}'",
    ),
    "tally.run.duration": Spans(
        "How long runs took, from their start, else from their lease",
        (e.RunSucceeded.TYPE, e.RunFailed.TYPE),
        f"SELECT b.recorded_at {_BEFORE} < page.originator_version "
        f"AND b.topic IN ('{e.RunStarted.TYPE}', '{e.RunLeased.TYPE}') ORDER BY b.originator_version DESC LIMIT 1",
        ("namespace", "reason"),
        f"CASE topic WHEN '{e.RunFailed.TYPE}' THEN {_FACTS}->>'reason' ELSE '' END",
    ),
    "cicd.pipeline.run.duration": Spans(
        "How long workflows took, from their submission to the end of their last task",
        (e.WorkflowFinished.TYPE,),
        f"SELECT b.recorded_at {_BEFORE} = 1",
        ("namespace", "cicd_pipeline_result"),
        f"CASE WHEN EXISTS (SELECT 1 {_BEFORE} < page.originator_version AND b.topic = '{e.WorkflowCancelled.TYPE}' "
        "AND NOT convert_from(b.state, 'UTF8')::jsonb ? 'because') "
        f"THEN 'cancellation' WHEN {' + '.join(_OTHER_ENDS)} = 0 THEN 'success' "
        "ELSE 'failure' END",
    ),
}
COUNTERS: Mapping[str, Counter] = {
    "tally.lease.expired": Counter("Leases that ran out", e.LeaseExpired.TYPE),
    "tally.cache.hits": Counter("Tasks that took the result of an equal one", e.TaskSucceeded.TYPE),
}
# Most that succeed took no result: their bodies are only searched, and read where they seem to say it.
_TOOK = f"""CASE WHEN topic = '{e.TaskSucceeded.TYPE}'
  THEN position('"cached_from":'::bytea IN state) > 0 AND {_FACTS} ? 'cached_from' ELSE true END"""
_ENDS = {topic: name for name, spans in HISTOGRAMS.items() for topic in spans.ends}
_COUNTS = {counter.of: name for name, counter in COUNTERS.items()}
_TOPICS = [*_ENDS, *_COUNTS]
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM events"
# Scalar subqueries are looked up row by row in the index of streams: no join that could read the whole log.
_COUNTED = f"""
WITH page AS MATERIALIZED (
  SELECT originator_id, originator_version, topic, namespace, recorded_at, state FROM events
  WHERE notification_id > %s AND notification_id <= %s AND topic = ANY (%s) AND {_TOOK}
), lasted AS (
  SELECT topic, namespace,
    CASE {" ".join(f"WHEN topic = ANY (ARRAY{list(spans.ends)}) THEN {spans.said}" for spans in HISTOGRAMS.values())}
    END AS said,
    extract(epoch FROM recorded_at - CASE
    {" ".join(f"WHEN topic = ANY (ARRAY{list(spans.ends)}) THEN ({spans.since})" for spans in HISTOGRAMS.values())}
    END)::float8 AS seconds
  FROM page
)
SELECT topic, namespace, said, width_bucket(seconds, %s::float8[]), count(*), sum(seconds)
FROM lasted GROUP BY 1, 2, 3, 4
"""


@dataclass(slots=True)
class Histogram:
    """How many were within each bound and beyond the last, and all their seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, bucket: int | None, count: int, seconds: float | None) -> None:
        """Add what fell into one bucket; None: when it began is not in the log."""
        if bucket is not None and seconds is not None:
            self.buckets[bucket] += count
            self.seconds += seconds


class LogCounts(Collector):
    """What the log says from the first look on."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._looking = reader, asyncio.Lock()
        self._position: int | None = None
        self._page = EVENTS_A_PAGE
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {name: {} for name in HISTOGRAMS}
        self._counted: dict[str, dict[str, int]] = {name: {} for name in COUNTERS}

    async def look(self) -> None:
        """Count what was logged since the last look. A page that takes too long is counted in smaller ones at the next
        looks; only what the database cannot count even so is passed over.

        Raises Unavailable: what is not counted yet is counted at the next look.
        """
        async with self._looking:
            clock = asyncio.get_running_loop().time
            last = clock() + LOOK_SECONDS
            ((head,),) = await self._reader.rows(_HEAD)
            since = self._position = head if self._position is None else self._position
            while since < head:
                up_to = min(head, since + self._page)
                done = await self._count(since, up_to)
                since = self._position = up_to if done else since
                if not done or clock() >= last:
                    break

    async def _count(self, since: int, up_to: int) -> bool:
        """Count one page. Returns whether it is dealt with."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            rows = await self._reader.rows(_COUNTED, since, up_to, _TOPICS, list(BOUNDS))
        except TooLong:
            if self._page > FEWEST:
                self._page = max(self._page // 2, FEWEST)
                return False
            log.warning("metrics: events %d to %d are not counted: the database takes too long", since + 1, up_to)
            return True
        if clock() - begun < EASY_SECONDS:
            self._page = min(2 * self._page, EVENTS_A_PAGE)
        for topic, namespace, said, *figures in rows:
            if topic in _COUNTS:
                of = self._counted[_COUNTS[topic]]
                of[namespace] = of.get(namespace, 0) + figures[1]
            else:
                name = _ENDS[topic]
                labels = (namespace, said)[: len(HISTOGRAMS[name].labels)]
                self._histograms[name].setdefault(labels, Histogram()).add(*figures)
        return True

    def collect(self) -> Iterator[HistogramMetricFamily | CounterMetricFamily]:
        """The figures of the last look."""
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        for name, spans in HISTOGRAMS.items():
            text = f"{name.replace('.', '_')}_seconds"
            family = HistogramMetricFamily(text, spans.meaning, labels=spans.labels)
            for labels, histogram in self._histograms[name].items():
                cumulated = map(float, accumulate(histogram.buckets))
                family.add_metric(labels, list(zip(bounds, cumulated, strict=True)), histogram.seconds)
            yield family
        for name, counter in COUNTERS.items():
            counts = CounterMetricFamily(name.replace(".", "_"), counter.meaning, labels=("namespace",))
            for namespace, count in self._counted[name].items():
                counts.add_metric((namespace,), count)
            yield counts
