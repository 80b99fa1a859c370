"""Trace context: every step that decides or acts is a span between its cause and what follows from it."""

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from domain.messages import Cause

Kind = Literal["internal", "producer", "consumer", "client", "server", "run"]
"""`run`: a server span that may outlive its process. Its id is derived from its cause and name, so that whoever sees it
to its end, after a kill and an adoption, ends the very span that others have gone on from."""


class Traces(Protocol):
    """Opens spans. Without tracing the cause comes back unchanged."""

    def step(
        self, name: str, cause: Cause, kind: Kind = "internal", attributes: dict[str, str | int] | None = None
    ) -> AbstractContextManager[Cause]:
        """A span named `name` under the cause's trace context, ended with the block; an exception marks it failed.

        Yields the cause with the span as its trace context: what is recorded or sent inside carries that on. A cause
        without trace context begins a new trace.
        """
        ...
