"""Trace context: every step that decides or acts is a span between its cause and what follows from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from domain.messages import Cause

Kind = Literal["internal", "producer", "consumer", "client", "server", "run"]
"""`run`: a server span that may outlive its process. Its id is derived from its cause and name, so that whoever sees it
to its end, after a kill and an adoption, ends the very span that others have gone on from."""
Attributes: TypeAlias = Mapping[str, str | int | Sequence[str]]
Described: TypeAlias = Attributes | Callable[[], Attributes]
"""Attributes, or how to compute them: asked only when a span is kept, or a log line names the step."""


def messaging(
    operation: Literal["send", "process"], destination: str, routing_key: str, message: str = "", conversation: str = ""
) -> dict[str, str | int]:
    """The attributes of a message that is sent to or was taken from `destination`: an exchange, or a queue.

    `message` is its id, `conversation` its chain's; "" where a span stands for no single message.
    """
    said: dict[str, str | int] = {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.rabbitmq.destination.routing_key": routing_key,
    }
    if message:
        said["messaging.message.id"] = message
    if conversation:
        said["messaging.message.conversation_id"] = conversation
    return said


class Traces(Protocol):
    """Opens spans. Without tracing the cause comes back unchanged."""

    def step(
        self,
        name: str,
        cause: Cause,
        kind: Kind = "internal",
        attributes: Described | None = None,
        *,
        links: Callable[[], Iterable[Cause]] | None = None,
    ) -> AbstractContextManager[Cause]:
        """A span named `name` under the cause's trace context, ended with the block; an exception marks it failed.

        Yields the cause with the span as its trace context: what is recorded or sent inside carries that on. A cause
        without trace context begins a new trace. `links`: all causes of a step that has many, asked only when there is
        tracing. The span is then under the first that is sampled, and linked to the others that are; a cause that is
        not sampled comes back unchanged all the same.
        """
        ...

    def note(self, attributes: Callable[[], Attributes]) -> None:
        """Add attributes to the innermost step that is open here; they are computed only if its span is kept."""
        ...
