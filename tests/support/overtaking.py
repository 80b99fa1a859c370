"""A store of the handler's that others write to between a decision and its commit."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from adapters.in_memory.handling import MemoryHandlerStore
from domain.ports.handling import Writes


@dataclass(slots=True)
class ContendedStore(MemoryHandlerStore):
    """`intrude` writes before the next commit, once. `most`: batches with more outcomes than that are overtaken."""

    intrude: Callable[[], Awaitable[object]] | None = None
    most: int = 10**6
    overtaken: int = 0
    commits: list[int] = field(default_factory=list[int])

    async def commit(self, writes: Writes) -> Sequence[int] | None:
        """As a MemoryHandlerStore's; None too while there is somebody to be overtaken by."""
        if self.intrude is not None:
            intrude, self.intrude = self.intrude, None
            await intrude()
        if self.overtaken > 0 or len(writes.outcomes) > self.most:
            self.overtaken -= 1
            return None
        self.commits.append(len(writes.outcomes))
        return await MemoryHandlerStore.commit(self, writes)
