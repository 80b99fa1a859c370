"""A receiver of traces (OTLP over http/protobuf): keeps every span in memory, can be waited for, and draws trees."""

import gzip
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A span as received. Ids are lower-case hex, `parent_id` "" for a root; times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """The spans of one trace as they hang together. `gaps`: spans whose parent never arrived."""

    roots: Sequence[Span]
    gaps: Sequence[Span]
    children: dict[str, list[Span]]

    @property
    def connected(self) -> bool:
        """One root, and every other span's parent is here."""
        return len(self.roots) == 1 and not self.gaps

    def walk(self) -> Iterator[tuple[int, Span]]:
        """Every span with its depth, parents first, siblings by start."""
        waiting = [(0, span) for span in reversed([*self.roots, *self.gaps])]
        while waiting:
            depth, span = waiting.pop()
            yield depth, span
            waiting += [(depth + 1, child) for child in reversed(self.children.get(span.span_id, []))]

    def lines(self) -> list[str]:
        """The tree for people: name, service, milliseconds."""
        return [
            f"{'  ' * depth}{span.name}  [{span.service}] {(span.end - span.start) / 1e6:.1f} ms"
            f"{'  FAILED' if span.failed else ''}"
            for depth, span in self.walk()
        ]


def tree(spans: Sequence[Span], remote_parent: str = "") -> Tree:
    """How `spans` hang together. `remote_parent`: a caller's span that never reports here; its child is a root."""
    ordered = sorted(spans, key=lambda span: (span.start, span.span_id))
    here = {span.span_id for span in ordered}
    children: dict[str, list[Span]] = {}
    for span in ordered:
        children.setdefault(span.parent_id, []).append(span)
    return Tree(
        roots=[span for span in ordered if span.parent_id in {"", remote_parent}],
        gaps=[span for span in ordered if span.parent_id not in here | {"", remote_parent}],
        children={parent: below for parent, below in children.items() if parent in here},
    )


@dataclass(slots=True)
class Received:
    """What has arrived so far, in order. `endpoint` is what exporters are given."""

    endpoint: str
    spans: list[Span] = field(default_factory=list[Span])
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def add(self, body: bytes) -> None:
        """Take one OTLP request. Raises DecodeError."""
        spans = list(decode(body))
        with self._arrived:
            self.spans += spans
            self._arrived.notify_all()

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace so far."""
        with self._arrived:
            return [span for span in self.spans if span.trace_id == trace_id]

    def wait_for(self, enough: Callable[[Sequence[Span]], bool], seconds: float = 10.0) -> list[Span]:
        """Return the spans once they are `enough`. Raises TimeoutError naming what has arrived."""
        end = time.monotonic() + seconds
        with self._arrived:
            while not enough(self.spans):
                if not self._arrived.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    names = sorted({span.name for span in self.spans})
                    raise TimeoutError(f"{len(self.spans)} spans after {seconds} s: {names}")
            return list(self.spans)


def decode(body: bytes) -> Iterator[Span]:
    """The spans of an OTLP request."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    service=service,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_attributes(span.attributes),
                    links=tuple(link.span_id.hex() for link in span.links),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def otlp_receiver(port: int = 0) -> Generator[Received]:
    """Receive on 127.0.0.1 until the block ends. `port` 0: any free one."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    received = Received(f"http://127.0.0.1:{server.server_port}")
    server.received = received  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="otlp-receiver", daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/traces":
            return self._answer(404, b"")
        try:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.server.received.add(body)  # type: ignore[attr-defined]
        except (DecodeError, OSError):
            return self._answer(400, b"")
        return self._answer(200, ExportTraceServiceResponse().SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what is received can be asked for."""
