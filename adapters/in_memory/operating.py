"""What a platform in memory decides of limits and workers. Its tasks run at once, whatever either says."""

from dataclasses import dataclass

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.schedules import Append
from domain import limit, worker
from domain.errors import NotFound
from domain.folding import limit_of, worker_of
from domain.limit import limit_stream
from domain.messages import Cause
from domain.operating import OperatorCommand, SetLimit
from domain.work import Reply
from domain.worker import worker_stream


@dataclass(frozen=True, slots=True)
class Operations:
    """`append` adds events to a stream."""

    log: MemoryLog
    append: Append

    def decide(self, command: OperatorCommand, accepted: Reply, cause: Cause) -> Reply:
        """Record what follows from the command. Raises Rejected."""
        if isinstance(command, SetLimit):
            stream = limit_stream(command.whole)
            before = limit_of(self.log.load([stream]).get(stream, ()))
            wanted = limit.Set(command.whole, command.max_running, command.rate, cause.actor)
            self.append(stream, limit.decide(before, wanted), command.namespace, cause)
            return accepted.model_copy(update={"id": stream})
        stream = worker_stream(command.worker_id)
        there = worker_of(self.log.load([stream]).get(stream, ()))
        if there is None:
            raise NotFound(f"worker_id: no worker {command.worker_id} has ever registered; look at: tally worker ls")
        self.append(stream, worker.change(there, command, cause.actor), worker.NO_NAMESPACE, cause)
        return accepted.model_copy(update={"id": stream})
