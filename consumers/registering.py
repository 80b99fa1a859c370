"""How a worker makes itself known: a registration, asked again until it is answered on the worker's own queue."""

import asyncio
import logging
from dataclasses import dataclass, field
from uuid import UUID

from consumers.starting import Pause
from domain.errors import Unavailable, Unroutable, WorkerIdTaken
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId
from domain.reports import RegisterWorker
from domain.work import Reply

REPLY_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Registration:
    """Asks for a generation. Whoever reads the queue hands its replies to `answered`."""

    command: RegisterWorker
    queue: str
    publisher: Publisher
    new_id: NewId
    pause: Pause = field(default=asyncio.sleep)
    _replies: dict[UUID, asyncio.Future[Reply]] = field(default_factory=dict[UUID, "asyncio.Future[Reply]"])

    async def __call__(self) -> Reply:
        """The accepted reply: it has generation and installation. Raises WorkerIdTaken."""
        command_id = self.new_id()
        answer = self._replies[command_id] = asyncio.get_running_loop().create_future()
        try:
            while not answer.done():
                await self._ask(command_id, answer)
            return _accepted(answer.result())
        finally:
            del self._replies[command_id]

    def answered(self, reply: Reply) -> None:
        """A reply came; one that nobody waits for is ignored."""
        waiting = self._replies.get(reply.command_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def _ask(self, command_id: UUID, answer: asyncio.Future[Reply]) -> None:
        command = self.command
        key = f"worker.register.{command.worker_id}"
        message = Outgoing(
            "task.reports",
            key,
            command.TYPE,
            command_id,
            command.body(),
            correlation_id=str(command_id),
            reply_to=self.queue,
        )
        try:
            await self.publisher.publish([message])
        except (Unavailable, Unroutable) as error:
            log.warning("registration waits: %s", error)
            await self.pause(1.0)
            return
        await asyncio.wait({answer}, timeout=REPLY_SECONDS)


def _accepted(reply: Reply) -> Reply:
    if reply.outcome == "rejected" or reply.generation is None or reply.installation is None:
        detail = reply.problem.detail if reply.problem else "the reply names no generation"
        raise WorkerIdTaken(f"registration refused: {detail}")
    return reply
