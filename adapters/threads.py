"""Blocking calls beside the event loop, a bounded number at a time, none of which holds up the end of the process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """At most `limit` calls at once; the others wait for their turn. A call that nobody awaits any more goes on."""

    def __init__(self, limit: int, name: str) -> None:
        self._free, self._name = asyncio.Semaphore(limit), name

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """The value that `function` returns, or the error it raises."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            self._free.release()
            if answer.cancelled():
                return
            if error is None:
                answer.set_result(value)  # type: ignore[arg-type]
            else:
                answer.set_exception(error)

        def work() -> None:
            value, error = None, None
            try:
                value = function(*args, **kwargs)
            except Exception as raised:  # noqa: BLE001 - raised again where the call is awaited
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, value, error)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return await answer
