"""Statements sent together on libpq's own pipeline: a fifth of what psycopg's costs (docs/decisions/0023)."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import count
from types import TracebackType
from typing import Any, LiteralString, Self, TypeAlias

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from adapters.arrays import register

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]
Row: TypeAlias = tuple[Any, ...]

_Key: TypeAlias = tuple[bytes, tuple[int, ...]]
_NUMBERS = count(1)
_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class Answer:
    """What the server will say to one statement. `prepares`: the key of the statement that this one prepares."""

    __slots__ = ("prepares", "result")

    def __init__(self, prepares: _Key | None = None) -> None:
        self.prepares = prepares
        self.result: PGresult | None = None


class Pipeline:
    """Sends statements on `connection` while it is entered with `async with`, which one at a time may; nothing else may
    use the connection meanwhile.

    A statement's values stand for its `%b`, all in binary form; `prepare` keeps its plan for the next time. Only what
    is asked for is waited for. After an error the server passes over all that was sent behind it; the error is raised
    by whoever waits next, at the latest at the end, where all is waited for. Leaving by an error waits for what was
    sent and drops the answers; a wait that is cancelled, or a body that is, ends the connection.
    """

    def __init__(self, connection: Connection) -> None:
        register(connection)
        self._connection = connection
        self._libpq = connection.pgconn
        self._names: dict[_Key, bytes] = {}
        self._own = asyncio.Lock()
        self._sent: deque[Answer] = deque()

    async def __aenter__(self) -> Self:
        await self._own.acquire()
        try:
            self._values = Transformer(self._connection)
            self._libpq.enter_pipeline_mode()
        except BaseException:
            self._own.release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.sync()
            elif isinstance(error, Exception):
                with suppress(psycopg.Error):
                    await self.sync()
            else:
                self._libpq.finish()
        finally:
            self._sent.clear()
            try:
                if self._libpq.status == ConnStatus.OK:
                    self._libpq.exit_pipeline_mode()
            finally:
                self._own.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Self]:
        """Enter, and send a transaction; it is rolled back where an error leaves it."""
        async with self:
            try:
                self.send("BEGIN")
                yield self
                self.send("COMMIT")
                await self.sync()
            except Exception:
                await self._roll_back()
                raise

    async def _roll_back(self) -> None:
        with suppress(psycopg.Error):
            await self.sync()
        with suppress(psycopg.Error):
            if self._libpq.transaction_status != TransactionStatus.IDLE:
                await self.rows("ROLLBACK")

    def send(self, query: LiteralString | bytes, values: Sequence[object] = (), prepare: bool = True) -> Answer:
        """Send a statement; its answer is there after the next wait."""
        text = _numbered(query)
        given = self._values.dump_sequence(values, [PyFormat.BINARY] * len(values)) if values else ()
        types, formats = (self._values.types or (), self._values.formats) if values else ((), None)
        if prepare:
            name = self._prepared(text, types)
            self._libpq.send_query_prepared(name, given, formats, result_format=Format.BINARY)
        else:
            self._libpq.send_query_params(text, given, types, formats, result_format=Format.BINARY)
        answer = Answer()
        self._sent.append(answer)
        return answer

    async def fetch(self, answer: Answer) -> list[Row]:
        """The rows of an answer. Raises psycopg.Error."""
        if answer.result is None:
            await self.sync()
        assert answer.result is not None, "all that was sent is answered, or an error is raised"
        self._values.set_pgresult(answer.result)
        return self._values.load_rows(0, answer.result.ntuples, tuple)

    async def rows(
        self, query: LiteralString | bytes, values: Sequence[object] = (), prepare: bool = True
    ) -> list[Row]:
        """Send a statement and wait for its rows. Raises psycopg.Error."""
        return await self.fetch(self.send(query, values, prepare))

    async def sync(self) -> None:
        """Wait for the answers to all that was sent. Raises psycopg.Error, the first that there was."""
        if not self._sent:
            return
        self._libpq.pipeline_sync()
        refused: list[PGresult] = []
        try:
            while not self._take(refused):
                await self._ready(bool(self._libpq.flush()))
                self._libpq.consume_input()
        except OperationalError:
            if not refused or refused[0].error_field(DiagnosticField.SQLSTATE) is None:
                raise
        except asyncio.CancelledError:
            self._libpq.finish()
            raise
        if refused:
            raise error_from_result(refused[0])

    def _take(self, refused: list[PGresult]) -> bool:
        """Take the answers that have come; True with the last one. `refused`: those that are errors."""
        while not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                if self._libpq.status != ConnStatus.OK:
                    raise OperationalError("the connection is lost")
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return True
            answer = self._sent.popleft() if self._sent else Answer()  # behind the last: the commit has failed
            if result.status in _DONE:
                answer.result = result
            elif answer.prepares is not None:
                self._names.pop(answer.prepares, None)
            if result.status == ExecStatus.FATAL_ERROR:
                refused.append(result)
        return False

    def _prepared(self, text: bytes, types: tuple[int, ...]) -> bytes:
        key = (text, types)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = b"tally_%d" % next(_NUMBERS)
            self._libpq.send_prepare(name, text, types)
            self._sent.append(Answer(key))
        return name

    async def _ready(self, sending: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        socket = self._libpq.socket
        loop.add_reader(socket, _wake, ready)
        if sending:
            loop.add_writer(socket, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if sending:
                loop.remove_writer(socket)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


@cache
def _numbered(query: str | bytes) -> bytes:
    """A statement with PostgreSQL's own numbers for its values."""
    first, *others = (query if isinstance(query, bytes) else query.encode()).split(b"%b")
    return first + b"".join(b"$%d%s" % (number, part) for number, part in enumerate(others, start=1))
