"""The Python client over a platform in memory."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from adapters.in_memory.endings import Ending
from adapters.in_memory.platform import MemoryPlatform
from adapters.in_memory.traces import NoTraces
from api.client import Cache, Client, Definition, ForEach, Outcome, Retry, ScheduleSpec, Task
from domain.commands import CancelTask, Command, SubmitTask, SubmitWorkflow
from domain.dependencies import named
from domain.errors import NotFound, Refused, Unavailable
from domain.events import TaskSubmitted
from domain.messages import Cause
from domain.ports.platform import View
from domain.reports import Artifact
from domain.retry_spec import Fallback
from domain.work import Reply
from tests.support.commands import Ids
from tests.support.ended_tasks import Hands


def client(**endings: Ending | None) -> tuple[Client, MemoryPlatform]:
    platform = MemoryPlatform(Hands(), endings)
    return Client(platform, platform, Ids(), NoTraces()), platform


async def test_a_task_that_was_sent_can_be_waited_for() -> None:
    tally, _ = client(T1=Ending(0, result={"rows": 12}))
    task = await tally.submit(Task("nightly", image="busybox", command=["true"], task_id="T1"))
    assert await task.wait(timeout=5) == Outcome("succeeded", 0, {"rows": 12})


ARTIFACT = Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7)


async def test_a_task_takes_what_the_one_before_it_left() -> None:
    tally, _ = client(T0=Ending(0, result={"rows": 12}, artifacts=(ARTIFACT,)))
    first = await tally.submit(Task("extract", image="busybox", task_id="T0", result="/r", artifacts="/a"))
    asks = {"rows": "{{tasks.T0.result.rows}}", "from": "{{tasks.T0.artifacts.m.uri}}"}
    second = await tally.submit(Task("load", image="busybox", task_id="T1", depends_on=["T0"], input=asks))
    assert (await first.wait(timeout=5)).artifacts == (ARTIFACT,)
    assert await second.wait(timeout=5) == Outcome("succeeded", 0)
    events = {event.type: event.data async for event in second.events()}
    assert events["task.filled.v1"]["input"] == {"rows": 12, "from": "s3://b/m"}


PINNED = f"busybox@sha256:{'ab' * 32}"


async def test_an_equal_task_has_the_result_of_the_first_and_says_so() -> None:
    tally, _ = client(T0=Ending(0, result={"rows": 12}, artifacts=(ARTIFACT,)))
    cache = Cache(ttl=timedelta(hours=1))
    first = await tally.submit(Task("extract", image=PINNED, task_id="T0", cache=cache))
    second = await tally.submit(Task("again", image=PINNED, task_id="T1", cache=cache, priority=9))
    other = await tally.submit(Task("again", image=PINNED, task_id="T2", cache=cache, env={"A": "1"}))
    theirs = (await first.view())["id"]
    assert await second.wait(timeout=5) == Outcome("succeeded", 0, {"rows": 12}, None, (ARTIFACT,), theirs)
    assert await other.wait(timeout=5) == Outcome("succeeded", 0)
    view = await second.view()
    assert (view["runs"], view["cached_from"]["task_id"]) == (0, "T0")
    assert [one.code for one in (await second.explain()).causes] == ["cached"]


async def test_a_task_that_is_run_once_more_takes_no_result_but_a_fork_of_it_does() -> None:
    tally, _ = client()
    first = await tally.submit(Task("extract", image=PINNED, task_id="T0", cache=Cache()))
    again, fork = await first.retry("again"), await first.fork()
    assert (await again.wait(timeout=5)).cached_from is None
    assert (await fork.wait(timeout=5)).cached_from == (await again.view())["id"]


async def test_a_result_is_taken_no_longer_than_its_ttl() -> None:
    tally, platform = client()
    await tally.submit(Task("extract", image=PINNED, task_id="T0", cache=Cache(ttl=timedelta(hours=1))))
    assert isinstance(platform.clock, Hands)
    platform.clock.move(timedelta(hours=1))
    late = await tally.submit(Task("extract", image=PINNED, task_id="T1", cache=Cache()))
    assert (await late.wait(timeout=5)).cached_from is None


async def test_a_task_that_cannot_be_filled_fails_and_says_why() -> None:
    tally, _ = client(T0=Ending(0))
    await tally.submit(Task("extract", image="busybox", task_id="T0"))
    command = ["load", "{{tasks.T0.result.rows}}"]
    second = await tally.submit(Task("load", image="busybox", command=command, task_id="T1", depends_on=["T0"]))
    assert await second.wait(timeout=5) == Outcome("failed", None, None, "template-missing-field")
    assert "without a result" in (await second.view())["detail"]


async def test_a_failed_task_raises_nothing() -> None:
    tally, _ = client(T1=Ending(3))
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    assert await task.wait(timeout=5) == Outcome("failed", 3, None, "exit-nonzero")


async def test_a_task_is_run_as_often_as_it_may_fail() -> None:
    tally, platform = client(T1=Ending(3))
    retry = Retry(2, backoff="fixed", first=timedelta(seconds=1), on=["exit:3"], fallback_command=["true"])
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1", retry=retry))
    assert await task.wait(timeout=5) == Outcome("failed", 3, None, "retries-exhausted")
    assert [event.type async for event in task.events()].count("task.run-failed.v1") == 3
    [sent] = platform.sent
    assert isinstance(sent, SubmitTask)
    assert sent.retry is not None
    assert (sent.retry.max_runs, sent.retry.fallback) == (2, Fallback(command=("true",)))


async def test_an_ended_task_is_run_once_more_as_a_new_one() -> None:
    tally, _ = client(T1=Ending(3))
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    again = await task.retry("T2")
    assert await again.wait(timeout=5) == Outcome("succeeded", 0)
    assert (await again.view())["retry_of"] == (await task.view())["id"]
    assert (await task.view())["status"] == "failed"


async def test_a_paused_task_runs_when_it_is_resumed() -> None:
    tally, _ = client(T0=None)
    upstream = await tally.submit(Task("first", image="busybox", task_id="T0"))
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1", depends_on=["T0"]))
    await task.pause(reason="audit")
    assert (await task.view())["status"] == "paused"
    await upstream.cancel()
    assert (await task.view())["status"] == "skipped"
    with pytest.raises(Refused, match="has already been skipped: retry it, as a new task"):
        await task.resume()


async def test_a_fork_is_a_new_task_with_changes() -> None:
    tally, _ = client(T1=None, T3=Ending(3))
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1", labels={"team": "data"}))
    plain = await task.fork()
    changed = await task.fork({"container": {"image": "alpine"}, "labels": None}, from_version=1, new_task_id="T3")
    assert (await plain.wait(timeout=5), await changed.wait(timeout=5)) == (
        Outcome("succeeded", 0),
        Outcome("failed", 3, None, "exit-nonzero"),
    )
    view, old = await changed.view(), await task.view()
    assert (view["image"], view["labels"], view["forked_from"]) == ("alpine", {}, old["id"])
    assert (old["status"], old["image"]) == ("running", "busybox")


async def test_a_workflow_is_run_once_more_from_its_failed_tasks() -> None:
    tally, _ = client(**{"etl.load": Ending(3)})
    async with tally.workflow("etl") as etl:
        etl.task("load", image="busybox").after(etl.task("extract", image="busybox"))
    reply = await tally.retry_workflow("etl", "again")
    [load] = await tally.accepted_by(reply)
    assert (reply.workflow_id, load.id) == ("again", "etl.load:2")
    assert await load.wait(timeout=5) == Outcome("succeeded", 0)
    with pytest.raises(Refused, match="nothing is left to run again"):
        await tally.retry_workflow("again")


async def test_tasks_are_found_by_filters_and_each_is_sent_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.in_memory.platform.MAX_TASKS", 5)
    tally, _ = client(**{f"T{n}": None for n in range(12)})
    for n in range(12):
        await tally.submit(Task("nightly", image="busybox", task_id=f"T{n}", labels={"odd": str(n % 2)}))
    other = Client(tally.sending, tally.reading, tally.new_id, tally.traces, "other")
    await other.submit(Task("nightly", executor="noop"))

    odd = [task async for task in tally.tasks({"odd": "1"}, status="open")]
    whole = [task.id async for task in tally.tasks()]
    commands = [CancelTask(task_id=one.id) for one in [*odd[:3], tally.task("nobody"), *odd[3:]]]
    answers = [answer async for _, answer in tally.send_each(commands)]

    assert (len(odd), len(whole)) == (6, 12)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Refused)] == [3]
    assert [task.id async for task in tally.tasks({"odd": "1"}, status="open")] == []
    with pytest.raises(Refused, match="colour: no such filter"):
        [task async for task in tally.tasks(colour="red")]


async def test_commands_go_on_after_a_moment_without_answer_under_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.many.PAUSE_SECONDS", 0.0)
    platform = Stumbling(Hands(), {"T1": None})
    tally = Client(platform, platform, Ids(), NoTraces())
    await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    platform.stumbles = 2

    [(_, answer)] = [one async for one in tally.send_each([CancelTask(task_id="T1")])]

    assert isinstance(answer, Reply)
    assert len({one for one, _ in platform.tried[1:]}) == 1
    assert len(platform.tried) == 4


async def test_commands_end_when_nobody_answers_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.many.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("api.many.AWAY_SECONDS", 0.0)
    platform = Stumbling(Hands(), {}, stumbles=10**9)
    tally = Client(platform, platform, Ids(), NoTraces())

    with pytest.raises(Unavailable):
        [one async for one in tally.send_each([CancelTask(task_id=f"T{n}") for n in range(1500)])]

    assert len({one for one, _ in platform.tried}) <= 1001


@dataclass(slots=True)
class Stumbling(MemoryPlatform):
    """Does what it is asked, and then says that it is not reached, so many times."""

    stumbles: int = 0
    tried: list[tuple[UUID, Command]] = field(default_factory=list[tuple[UUID, Command]])

    async def send(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> Reply | None:
        self.tried.append((command_id, command))
        reply = await MemoryPlatform.send(self, command, command_id, cause, answer)
        if self.stumbles:
            self.stumbles -= 1
            raise Unavailable("no answer in time")
        return reply


async def test_a_task_says_why_it_stands_as_it_does() -> None:
    tally, _ = client(T0=None)
    upstream = await tally.submit(Task("first", image="busybox", task_id="T0"))
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1", depends_on=["T0"]))

    waits = await task.explain()
    [cause] = waits.causes
    assert (waits.task_id, waits.status) == ("T1", "blocked")
    assert (cause.code, cause.detail) == ("dependency", "T0 (running) must succeed")
    assert cause.facts == {"task_id": "T0", "needs": "succeeded", "status": "running"}
    assert str(waits) == "T1 blocked: 1 dependency  T0 (running) must succeed"

    await upstream.cancel(reason="wrong day")
    assert str(await task.explain()) == (
        "T1 skipped: 1 skipped  T0 cancelled (wrong day): it could no longer end as T1 needs it"
    )
    with pytest.raises(Refused, match="no task T9"):
        await tally.task("T9").explain()


async def test_a_task_that_has_not_ended_can_be_given_another_priority() -> None:
    tally, _ = client(T1=None)
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    await task.set_priority(9)
    assert (await task.view())["priority"] == 9
    await task.cancel()
    with pytest.raises(Refused, match="been cancelled"):
        await task.set_priority(1)


async def test_a_task_type_is_put_used_and_removed() -> None:
    tally, _ = client()
    await tally.put_task_type("bake", Definition(image="busybox", command=("bake", "{{input.recipe}}")))
    task = await tally.submit(Task("rye", task_type="bake", input={"recipe": "rye"}), reply=True)
    assert (await task.wait()).status == "succeeded"
    assert (await task.view())["task_type"] == "bake"
    await tally.remove_task_type("bake")
    with pytest.raises(Refused, match="bake is not registered"):
        await tally.submit(Task("rye", task_type="bake", input={"recipe": "rye"}), reply=True)


async def test_a_schedule_names_a_registered_type_and_fires_its_newest_version() -> None:
    tally, platform = client()
    await tally.put_task_type("bake", Definition(image="oven"))
    schedule = tally.schedule("S1")
    await schedule.put(ScheduleSpec(cron="@daily", task=Task("daily", task_type="bake").spec()))
    await tally.put_task_type("bake", Definition(image="oven:2"))
    await schedule.trigger()

    [submitted] = [event for row in platform.log.events if isinstance(event := row.event(), TaskSubmitted)]
    assert (submitted.spec.task_type, submitted.task_type_version) == ("bake", 2)
    with pytest.raises(Refused, match=r"task\.task_type: cook is not registered"):
        await tally.schedule("S2").put(ScheduleSpec(cron="@daily", task=Task("daily", task_type="cook").spec()))


async def test_a_task_without_an_id_gets_one_that_it_can_be_found_by() -> None:
    tally, platform = client()
    task = await tally.submit(Task("nightly", executor="noop"))
    assert (await tally.task(task.id).view())["name"] == "nightly"
    assert len(platform.sent) == 1


async def test_a_refusal_is_raised_where_its_answer_is_read() -> None:
    tally, _ = client()
    lonely = Task("load", executor="noop", depends_on=["nobody"])
    with pytest.raises(Refused, match="nobody") as caught:
        await tally.submit(lonely, reply=True)
    assert caught.value.problem.code == "unknown-dependency"

    task = await tally.submit(lonely)
    with pytest.raises(Refused):
        await task.wait(timeout=5)


async def test_a_workflow_is_sent_as_one_message_at_the_end_of_its_block() -> None:
    tally, platform = client()
    async with tally.workflow("etl") as etl:
        extract = etl.task("extract", image="busybox")
        left, right = (
            etl.task("left", image="busybox").after(extract),
            etl.task("right", image="busybox").after(extract),
        )
        load = etl.task("load", image="busybox").after(left, right)
        assert platform.sent == []

    [sent] = platform.sent
    assert isinstance(sent, SubmitWorkflow)
    assert named(sent.tasks[-1].depends_on) == ["etl.left", "etl.right"]
    assert await tally.task(load.id).wait(timeout=5) == Outcome("succeeded", 0)


async def test_what_the_platform_has_told_of_is_found_though_its_views_lag() -> None:
    platform = Lagging(Hands(), {})
    tally = Client(platform, platform, Ids(), NoTraces())
    async with tally.workflow("etl") as etl:
        load = etl.task("load", image="busybox").after(etl.task("extract", image="busybox"))

    assert (await tally.task(load.id).view())["status"] == "succeeded"
    assert await tally.task(load.id).wait(timeout=5) == Outcome("succeeded", 0)
    assert etl.reply is not None
    assert platform.asked == [etl.reply.position] * 2


class Lagging(MemoryPlatform):
    """A platform that tells of a task only who says from which position on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[int] = []

    async def task(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        self.asked.append(after)
        if not after:
            raise Refused(NotFound(f"no task {ref}").problem())
        return await super().task(ref, namespace, wait, after)


async def test_a_workflow_whose_block_fails_is_not_sent() -> None:
    tally, platform = client()

    async def failing() -> None:
        async with tally.workflow("etl") as etl:
            etl.task("extract", image="busybox")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert platform.sent == []


async def test_the_history_of_a_task_ends_with_its_end() -> None:
    tally, _ = client()
    task = await tally.submit(Task("nightly", image="busybox"))
    events = [event async for event in task.events()]
    assert [event.type for event in events] == [
        "task.submitted.v1",
        "task.queued.v1",
        "task.run-leased.v1",
        "task.run-started.v1",
        "task.run-succeeded.v1",
        "task.succeeded.v1",
    ]
    assert [event.version for event in events] == [1, 2, 3, 4, 5, 6]


async def test_a_running_task_can_be_cancelled_and_an_ended_one_cannot() -> None:
    tally, _ = client(T1=None)
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    assert (await task.view())["status"] == "running"
    await task.cancel(reason="wrong day")
    assert await task.wait(timeout=5) == Outcome("cancelled", 143, None, None)
    with pytest.raises(Refused) as caught:
        await task.cancel()
    assert caught.value.problem.code == "bad-state"


async def test_waiting_ends_after_its_time() -> None:
    tally, _ = client(T1=None)
    task = await tally.submit(Task("nightly", image="busybox", task_id="T1"))
    with pytest.raises(TimeoutError):
        await task.wait(timeout=0.05)


HOURLY = ScheduleSpec.model_validate({"cron": "0 * * * *", "task": {"executor": "noop"}})


async def test_a_schedule_is_put_asked_paused_and_deleted() -> None:
    tally, _ = client()
    nightly = tally.schedule("nightly")
    await nightly.put(HOURLY)
    assert ((await nightly.view())["status"], len((await nightly.fires(coming=3))["next"])) == ("active", 3)
    await nightly.pause()
    assert ((await nightly.view())["status"], (await nightly.fires())["next"]) == ("paused", [])
    await nightly.resume()
    await nightly.delete()
    with pytest.raises(Refused, match="no schedule nightly"):
        await nightly.pause()


async def test_the_platform_in_memory_refuses_the_fires_that_the_real_one_refuses() -> None:
    tally, platform = client()
    nightly = tally.schedule("nightly")
    await nightly.put(HOURLY)
    now, day = platform.clock.now(), timedelta(days=1)

    with pytest.raises(Refused, match=r"as_if: .* is yet to come"):
        await nightly.trigger(now + day)
    with pytest.raises(Refused, match="to: is before from"):
        await nightly.backfill(now - day, now - 2 * day)
    with pytest.raises(Refused, match=r"to: .* is yet to come"):
        await nightly.backfill(now - day, now + day)
    with pytest.raises(Refused, match="to: more than 1000 fires"):
        await nightly.backfill(now - 50 * day, now)

    assert (await nightly.trigger()).id != (await nightly.trigger()).id
    assert [event.type for event in platform.log.events].count("schedule.fired.v1") == 2


async def test_a_schedule_fires_once_for_each_time_it_is_asked_for() -> None:
    tally, platform = client()
    nightly = tally.schedule("nightly")
    await nightly.put(HOURLY)
    at = datetime(2026, 11, 20, 2, tzinfo=UTC)

    task = await nightly.trigger(at)
    tasks = await nightly.backfill(at - timedelta(hours=1), at + timedelta(hours=1))

    assert (await task.wait(timeout=5)).status == "succeeded"
    assert (len(tasks), tasks[1].id) == (3, task.id)
    assert [event.type for event in platform.log.events].count("schedule.fired.v1") == 3
    assert [one["task_status"] for one in (await nightly.fires())["last"]] == ["succeeded"] * 3


async def test_a_task_for_each_item_becomes_children_that_are_found_by_their_names() -> None:
    tally, _ = client(**{"each[1]": Ending(3)})
    child = Task("load", image="busybox", command=["load", "{{item}}"])
    parent = await tally.submit(Task("each", task_id="each", for_each=ForEach(["a", "b", "c"], child)))

    view = await parent.view()
    assert (view["status"], view["reason"], view["children"]) == ("failed", "children-failed", 3)
    assert (view["result"]["succeeded"], view["result"]["failed"]) == (2, 1)
    assert len([task async for task in tally.tasks(parent="each")]) == 3
    [failed] = [task async for task in tally.tasks(parent="each", status="failed")]
    assert failed.id == (await tally.task("each[1]").view())["id"]
    again = await tally.task("each[1]").retry()
    events = [event async for event in again.events()]
    assert events[0].data["filled"]["container"]["command"] == ["load", "b"]
    fork = await tally.task("each[1]").fork({"priority": 9})
    assert (await fork.view())["spec"]["container"]["command"] == ["load", "b"]


async def test_a_task_whose_children_run_can_be_cancelled() -> None:
    tally, _ = client(**{"each[0]": None})
    child = Task("n", image="busybox")
    parent = await tally.submit(Task("each", task_id="each", for_each=ForEach(2, child)))
    assert (await parent.view())["status"] == "running"

    await parent.cancel(reason="enough")

    statuses = [(await tally.task(name).view())["status"] for name in ("each", "each[0]", "each[1]")]
    assert statuses == ["cancelled", "cancelled", "succeeded"]


@pytest.mark.parametrize("wrong", [Task("n", executor="noop", task_id="x"), Task("n", executor="noop", depends_on="a")])
def test_a_child_has_no_place_of_its_own(wrong: Task) -> None:
    with pytest.raises(ValueError, match="give them beside for_each"):
        Task("each", for_each=ForEach(2, wrong)).spec()
