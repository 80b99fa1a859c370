"""No tracing: causes keep the trace context they came with."""

from adapters.doing import Untraced
from domain.messages import Cause
from domain.ports.tracing import Kind


class NoTraces:
    """Opens no spans."""

    def step(
        self, name: str, cause: Cause, kind: Kind = "internal", attributes: dict[str, str | int] | None = None
    ) -> Untraced:
        return Untraced(cause, attributes)
