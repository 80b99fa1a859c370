"""What the routes need of the outside, and where a request finds it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from starlette.requests import Request

from domain.ports.authorising import Principal, Tokens
from domain.ports.commanding import CommandDesk
from domain.ports.explaining import Explaining
from domain.ports.inspecting import DeadLetters
from domain.ports.log import NewId
from domain.ports.logkeeping import LogReading
from domain.ports.measuring import Measures
from domain.ports.querying import Queries
from domain.ports.tracing import Traces
from domain.ports.watching import Watch

Check: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class About:
    """What the API says of itself. `schemas`: JSON Schema by message type. `resource`: its address for clients."""

    version: str
    issuer: str
    resource: str
    schemas: Mapping[str, Mapping[str, Any]]
    hosts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes of one command, requests a second and open feeds of one principal."""

    max_body: int = 64 << 10
    max_workflow: int = 1 << 20
    reads: int = 100
    streams_per_user: int = 5


@dataclass(frozen=True, slots=True)
class Api:
    """Everything a route may use. `desk` None: commands are not taken here. `checks` raise what is wrong.

    `measures` None: nobody counts."""

    tokens: Tokens
    queries: Queries
    explaining: Explaining
    logs: LogReading
    dead_letters: DeadLetters
    watch: Watch
    traces: Traces
    new_id: NewId
    about: About
    desk: CommandDesk | None = None
    measures: Measures | None = None
    checks: Mapping[str, Check] = field(default_factory=dict[str, Check])
    bounds: Bounds = Bounds()


def api_of(request: Request) -> Api:
    """The surroundings of this request's application."""
    return cast("Api", request.app.state.api)


def principal_of(request: Request) -> Principal:
    """The verified caller of a protected route."""
    return cast("Principal", request.state.principal)
