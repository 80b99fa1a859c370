"""What every store of the handler promises."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from adapters.event_log import connect
from adapters.handler_store import PgHandlerStore
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from consumers.dead_letters import dead_letter
from domain import events as e
from domain.errors import Unreadable
from domain.ports.handling import CommandKey, DeadLetter, HandlerStore, Named, NameKey, Outcome, Writes
from domain.recorded import new_events
from domain.specs import TaskSpec
from domain.work import Reply
from tests.support.commands import COMMAND, COMMAND_2, command
from tests.support.ended_tasks import CAUSE, TASK, TASK_2, Hands

KEY, KEY_2 = CommandKey(COMMAND, "client"), CommandKey(COMMAND_2, "client")
NAME, NAMED = NameKey("default", "task", "T1"), Named(TASK, b"d" * 32)
SUBMITTED = new_events(TASK, 0, "default", [e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))], CAUSE)
SKIPPED = new_events(TASK, 1, "default", [e.TaskSkipped(task_id="T1", because="T0")], CAUSE)


def outcome(key: CommandKey, version: int | None = 1) -> Outcome:
    reply = Reply(command_id=key.command_id, outcome="accepted", version=version)
    return Outcome(key, b"digest", "task.submit.v1", reply, TASK if version else None, version)


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and how to let 25 hours pass for what it has counted."""

    store: HandlerStore
    wait_a_day: Callable[[], Awaitable[object]]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    if request.param == "memory":
        clock = Hands()

        async def move() -> None:
            clock.move(timedelta(hours=25))

        yield Place(MemoryHandlerStore(MemoryLog(clock)), move)
        return
    async with await connect(request.getfixturevalue("pg").app, "test") as connection:
        older = "UPDATE redeliveries SET last_at = last_at - interval '25 hours'"
        yield Place(PgHandlerStore(connection), lambda: connection.execute(older))


@pytest.fixture
def store(place: Place) -> HandlerStore:
    return place.store


async def test_a_commit_stores_events_names_and_outcomes_together(store: HandlerStore) -> None:
    positions = await store.commit(Writes([outcome(KEY)], {NAME: NAMED}, events=SUBMITTED))

    assert positions is not None
    assert await store.named([NAME]) == {NAME: NAMED}
    assert [row.event() for row in (await store.load([TASK]))[TASK]] == [SUBMITTED[0].event]
    found = (await store.outcomes([KEY, KEY_2]))[KEY]
    assert (found.digest, found.reply.version, found.reply.position) == (b"digest", 1, positions[0])


@dataclass(frozen=True)
class Clash:
    writes: Writes


@pytest.mark.parametrize(
    "clash",
    [
        Clash(Writes([outcome(KEY, None), outcome(KEY_2, None)])),
        Clash(Writes([outcome(KEY_2, None)], {NAME: Named(TASK_2, b"e" * 32)})),
        Clash(Writes([outcome(KEY_2, None)], events=SUBMITTED)),
        Clash(Writes([outcome(KEY_2, None)], events=new_events(TASK_2, 3, "default", [SKIPPED[0].event], CAUSE))),
    ],
    ids=["outcome", "name", "stream moved", "stream behind"],
)
async def test_a_commit_that_clashes_stores_nothing(store: HandlerStore, clash: Clash) -> None:
    await store.commit(Writes([outcome(KEY)], {NAME: NAMED}, events=SUBMITTED))

    assert await store.commit(clash.writes) is None

    assert set(await store.outcomes([KEY, KEY_2])) == {KEY}
    assert await store.named([NAME]) == {NAME: NAMED}
    assert {stream: len(rows) for stream, rows in (await store.load([TASK, TASK_2])).items()} == {TASK: 1}


PROMISED = Named(TASK, b"")


@pytest.mark.parametrize("after", [NAMED, PROMISED], ids=["taken", "promised again"])
async def test_a_promised_name_is_taken_by_its_stream_or_promised_again(store: HandlerStore, after: Named) -> None:
    assert await store.commit(Writes(names={NAME: PROMISED})) is not None

    assert await store.commit(Writes(names={NAME: after})) is not None

    assert await store.named([NAME]) == {NAME: after}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [(PROMISED, Named(TASK_2, b"e" * 32)), (PROMISED, Named(TASK_2, b"")), (NAMED, PROMISED), (NAMED, NAMED)],
    ids=["taken by another", "promised to another", "promised once taken", "taken twice"],
)
async def test_a_name_is_neither_taken_nor_promised_against_what_is_there(
    store: HandlerStore, there: Named, wanted: Named
) -> None:
    other = NameKey("default", "task", "T2")
    await store.commit(Writes(names={NAME: there}))

    assert await store.commit(Writes([outcome(KEY, None)], {NAME: wanted, other: Named(TASK_2, b"d" * 32)})) is None

    assert await store.named([NAME, other]) == {NAME: there}
    assert await store.outcomes([KEY]) == {}


async def test_a_stream_goes_on_from_its_head(store: HandlerStore) -> None:
    first = await store.commit(Writes(events=SUBMITTED))
    second = await store.commit(Writes(events=SKIPPED))

    assert first is not None
    assert second is not None
    assert first[0] < second[0]
    assert [row.version for row in (await store.load([TASK]))[TASK]] == [1, 2]


async def test_the_same_id_of_two_senders_is_two_commands(store: HandlerStore) -> None:
    other = CommandKey(COMMAND, "other")

    assert await store.commit(Writes([outcome(KEY, None), outcome(other, None)])) is not None

    assert set(await store.outcomes([KEY, other])) == {KEY, other}


async def test_a_dead_letter_is_kept_once(store: HandlerStore) -> None:
    letter = DeadLetter(TASK, "task.commands.handler", "bad-json", "…", b"{", b"d" * 32, None, None, {"a": "b"})

    positions = await store.commit(Writes(dead_letters=[letter]))

    assert positions is not None
    assert list(positions) == []
    assert await store.commit(Writes(dead_letters=[letter])) is not None


async def test_returning_messages_are_counted(store: HandlerStore) -> None:
    await store.redelivered(["a", "b"])

    assert await store.redelivered(["a"]) == {"a": 2}
    assert await store.redelivered(["a", "b", "new"], 0) == {"a": 2, "b": 1, "new": 0}
    assert await store.redelivered(["a"], -1) == {"a": 1}
    await store.forget(["a", "never"])
    assert await store.redelivered(["a", "b"]) == {"a": 1, "b": 2}


async def test_what_has_not_come_back_for_a_day_is_forgotten(place: Place) -> None:
    await place.store.redelivered(["a", "b"])
    await place.wait_a_day()
    await place.store.redelivered(["b"], 0)

    await place.store.forget([])

    assert await place.store.redelivered(["a", "b"], 0) == {"a": 0, "b": 1}


@pytest.mark.parametrize("strange", ["\x00", "\ud800", "a\x00b\n"], ids=["nul", "surrogate", "control"])
async def test_whatever_a_message_that_cannot_be_read_holds_it_is_kept(store: HandlerStore, strange: str) -> None:
    delivery = command(
        "task.submit.v1",
        {},
        message_id=strange,
        user=strange,
        headers={strange: strange, "b": strange.encode("utf-16", "surrogatepass")},
    )

    letter = dead_letter(TASK, "task.commands.handler", delivery, Unreadable("bad-id", f"no UUID: {strange}"))

    assert await store.commit(Writes(dead_letters=[letter])) is not None


async def test_a_worker_that_never_beat_is_not_alive(store: HandlerStore) -> None:
    assert not await store.alive("W1")


async def test_an_installation_keeps_its_id(store: HandlerStore) -> None:
    assert await store.installation() == await store.installation()
