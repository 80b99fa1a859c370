"""Trace context and spans by OpenTelemetry. A cause whose trace is not sampled passes through untouched."""

import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from dataclasses import replace
from hashlib import blake2b
from types import TracebackType

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from adapters.doing import Doing, Untraced, computed, now
from domain.messages import Cause
from domain.ports.tracing import Attributes, Described, Kind

# W3C Trace Context level 2: later versions may add fields, and any two hex digits are flags.
TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
UNSAMPLED = frozenset({"00", "02"})
"""How almost every trace context ends that is not sampled: those need no closer look."""
KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
    "run": SpanKind.SERVER,
}


_derived: ContextVar[int | None] = ContextVar("derived span id", default=None)


class SpanIds(RandomIdGenerator):
    """Random ids, but for a span whose id is derived."""

    def generate_span_id(self) -> int:
        return _derived.get() or super().generate_span_id()


class OtelTraces:
    """Spans of one tracer, whose provider takes its ids from SpanIds."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def step(
        self,
        name: str,
        cause: Cause,
        kind: Kind = "internal",
        attributes: Described | None = None,
        *,
        links: Callable[[], Iterable[Cause]] | None = None,
    ) -> "_Step | Untraced":
        found = TRACEPARENT.fullmatch(cause.traceparent) if cause.traceparent else None
        unsampled = found is not None and not int(found[4], 16) & TraceFlags.SAMPLED
        others = _sampled(links()) if links else []
        if unsampled and not others:
            return Untraced(cause, attributes)
        parent = others[0] if unsampled else _parent(found, cause.tracestate) if found else None
        context = set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        linked = [Link(other) for other in others if parent is None or other.span_id != parent.span_id]
        token = _derived.set(_derived_id(name, cause) if kind == "run" else None)
        span = self._tracer.start_span(name, context, KINDS[kind], links=linked)
        _derived.reset(token)
        kept = span.is_recording()
        if kept and attributes is not None:
            span.set_attributes(computed(attributes))
        inside = cause if unsampled else carried_by(span, cause)
        return _Step(span, context, Doing(inside, attributes, span.set_attributes if kept else None))

    def note(self, attributes: Callable[[], Attributes]) -> None:
        doing = now.get()
        if doing is not None and doing.note is not None:
            doing.note(attributes())


class _Step:
    _token: Token[Doing | None]
    _attached: Token[Context]

    def __init__(self, span: Span, context: Context, doing: Doing) -> None:
        self._span, self._context, self._doing = span, context, doing

    def __enter__(self) -> Cause:
        self._attached = attach(set_span_in_context(self._span, self._context))
        self._token = now.set(self._doing)
        return self._doing.cause

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        now.reset(self._token)
        detach(self._attached)
        if isinstance(error, Exception):
            self._span.record_exception(error)
            self._span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        self._span.end()


def _derived_id(name: str, cause: Cause) -> int:
    content = f"{cause.traceparent} {cause.causation_id} {name}".encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") or 1


def _sampled(causes: Iterable[Cause]) -> list[SpanContext]:
    """Each sampled trace context among those of `causes`, once."""
    given = {
        cause.traceparent: cause.tracestate
        for cause in causes
        if cause.traceparent and cause.traceparent[-2:] not in UNSAMPLED
    }
    found = [_parent(match, state) for text, state in given.items() if (match := TRACEPARENT.fullmatch(text))]
    return [context for context in found if context is not None and context.trace_flags.sampled]


def _parent(found: re.Match[str], tracestate: str | None) -> SpanContext | None:
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    state = TraceState.from_header([tracestate]) if tracestate else TraceState()
    return SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)), state)


def carried_by(span: Span, cause: Cause) -> Cause:
    """`cause` with `span` as its trace context."""
    context = span.get_span_context()
    return replace(
        cause,
        traceparent=f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}",
        tracestate=context.trace_state.to_header() or None,
    )
