"""No tracing: causes keep the trace context they came with."""

from collections.abc import Callable, Iterable

from adapters.doing import Untraced
from domain.messages import Cause
from domain.ports.tracing import Attributes, Described, Kind


class NoTraces:
    """Opens no spans."""

    def step(
        self,
        name: str,
        cause: Cause,
        kind: Kind = "internal",
        attributes: Described | None = None,
        *,
        links: Callable[[], Iterable[Cause]] | None = None,
    ) -> Untraced:
        return Untraced(cause, attributes)

    def note(self, attributes: Callable[[], Attributes]) -> None:
        """Nothing keeps it."""
