"""A run's output on its way: every byte once, in order, in bounds, across losses of engine and broker."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

from adapters.in_memory.containers import InMemoryContainers, Program
from consumers.capturing import CAP, HELD_BACK, Capture
from consumers.shipping import CHUNK, LogShipper, Source
from domain.errors import EngineDown, Unavailable
from domain.ports.broker import Outgoing
from domain.ports.running import Found, Output
from domain.reports import LogEnd
from tests.support import runs
from tests.support.docks import Ids, Pauses, Platform, soon
from tests.support.runs import BUSYBOX, RUN

SOURCE = Source("default", RUN, 1)


class Lossy(InMemoryContainers):
    """An engine that is lost once, after this many pieces of output."""

    pieces = 1

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        async for piece in super().output(id):
            self.pieces -= 1
            yield piece
            if self.pieces == 0:
                raise EngineDown("output: it is gone")


class Unreadable(InMemoryContainers):
    """An engine that has lost what containers print after its first piece, and answers everything else."""

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        async for piece in super().output(id):
            yield piece
            raise EngineDown("output: HTTPError")


class Removed(Unreadable):
    """As above, because somebody removes the container by hand."""

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        async for piece in super().output(id):
            yield piece
            await self.remove(id)


@asynccontextmanager
async def shipping(platform: Platform) -> AsyncGenerator[LogShipper]:
    shipper = LogShipper(platform, Ids("shipper"), Pauses())
    task = asyncio.create_task(shipper.run())
    yield shipper
    await shipper.sent()
    task.cancel()


async def started(
    *printed: Output, engine: type[InMemoryContainers] = InMemoryContainers
) -> tuple[InMemoryContainers, Found]:
    """A container that has printed this and ended."""
    containers = engine({runs.TRUE: Program(prints=printed)}, [BUSYBOX])
    found = await containers.create(runs.planned(runs.TRUE))
    await containers.start(found.id, runs.nothing_against_it)
    return containers, found


async def captured(*printed: Output, engine: type[InMemoryContainers] = InMemoryContainers) -> tuple[Platform, LogEnd]:
    """What is published of a container that prints this, and its end as it is reported."""
    platform, (containers, found) = Platform(), await started(*printed, engine=engine)
    async with shipping(platform) as shipper:
        capture = Capture(containers, shipper, SOURCE, found.id, Pauses())
        ended = await capture.until_end()
        end = await capture.end()
    assert ended is not None
    assert ended.exit_code == 0
    assert end is not None
    return platform, end


async def test_the_digest_is_of_stdout_and_then_stderr_however_they_came() -> None:
    platform, end = await captured(Output("stdout", b"a"), Output("stderr", b"x"), Output("stdout", b"b"))
    assert platform.logs() == {"stdout": b"ab", "stderr": b"x"}
    assert end == LogEnd(bytes=3, sha256=sha256(b"abx").hexdigest())


async def test_a_long_stderr_is_digested_too() -> None:
    piece = bytes(HELD_BACK // 2)
    _, end = await captured(*[Output("stderr", piece)] * 5, Output("stdout", b"late"))
    assert end == LogEnd(bytes=5 * len(piece) + 4, sha256=sha256(b"late" + 5 * piece).hexdigest())


async def test_a_run_that_prints_nothing_sends_nothing() -> None:
    platform, end = await captured()
    assert not platform.published
    assert end == LogEnd(bytes=0, sha256=sha256(b"").hexdigest())


async def test_an_engine_lost_in_the_middle_costs_no_byte_and_repeats_none() -> None:
    platform, end = await captured(Output("stdout", b"one "), Output("stdout", b"two"), engine=Lossy)
    assert platform.logs() == {"stdout": b"one two"}
    assert end.bytes == 7


async def test_output_beyond_the_cap_is_left_out_and_its_end_says_so() -> None:
    megabyte = bytes(1 << 20)
    platform, end = await captured(*[Output("stdout", megabyte)] * 11, Output("stderr", b"unheard"))
    assert len(platform.logs()["stdout"]) == CAP == end.bytes
    assert set(platform.logs()) == {"stdout"}
    assert end.truncated


async def test_output_up_to_the_cap_is_whole_even_if_the_engine_is_lost_at_its_last_byte() -> None:
    platform, end = await captured(Output("stdout", bytes(CAP)), engine=Lossy)
    assert (len(platform.logs()["stdout"]), end.bytes, end.truncated) == (CAP, CAP, None)


async def test_a_run_whose_output_the_engine_has_lost_ends_all_the_same_and_says_that_some_is_missing() -> None:
    platform, end = await captured(Output("stdout", b"one "), Output("stdout", b"two"), engine=Unreadable)
    assert platform.logs() == {"stdout": b"one "}
    assert end == LogEnd(bytes=4, sha256=sha256(b"one ").hexdigest(), truncated=True)


async def test_a_long_stderr_that_cannot_be_read_again_leaves_the_end_of_the_output_unknown() -> None:
    containers, found = await started(Output("stderr", bytes(HELD_BACK)), Output("stderr", b"x"))
    async with shipping(Platform()) as shipper:
        capture = Capture(containers, shipper, SOURCE, found.id, Pauses())
        await capture.until_end()
        await containers.remove(found.id)
        assert await capture.end() is None


async def test_a_container_that_somebody_removes_while_it_is_read_is_gone() -> None:
    containers, found = await started(Output("stdout", b"one "), engine=Removed)
    async with shipping(Platform()) as shipper:
        assert await Capture(containers, shipper, SOURCE, found.id, Pauses()).until_end() is None


async def test_chunks_are_bounded_and_the_last_says_so() -> None:
    platform, _ = await captured(Output("stdout", bytes(2 * CHUNK + 1)))
    chunks = [(message.headers["offset"], len(message.body), message.headers["last"]) for message in platform.published]
    assert {size <= CHUNK for _, size, _ in chunks} == {True}
    assert [last for _, _, last in chunks].count(True) == 1
    assert chunks[-1][2]
    assert platform.published[0].routing_key == f"default.{RUN}"


class Slow(Platform):
    """A broker that confirms only when the test says so, and refuses the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: list[Sequence[Outgoing]] = []
        self.confirm = asyncio.Event()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.tries.append(messages)
        if len(self.tries) == 1:
            await self.confirm.wait()
            raise Unavailable("no confirm")
        await super().publish(messages)


async def test_what_is_printed_while_a_chunk_is_on_its_way_goes_as_one() -> None:
    platform = Slow()
    async with shipping(platform) as shipper:
        await shipper.put(SOURCE, "stdout", 0, b"first")
        await soon(lambda: platform.tries)
        for offset in range(5, 15):
            await shipper.put(SOURCE, "stdout", offset, b"x")
        platform.confirm.set()
    assert [message.body for message in platform.published] == [b"first", b"x" * 10]


async def test_chunks_that_were_not_confirmed_go_again_under_the_same_ids() -> None:
    platform = Slow()
    platform.confirm.set()
    async with shipping(platform) as shipper:
        await shipper.put(SOURCE, "stdout", 0, b"first")
    assert [[message.id for message in messages] for messages in platform.tries] == [[platform.published[0].id]] * 2
