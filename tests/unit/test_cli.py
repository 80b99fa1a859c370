"""The command line over a platform in memory: what goes to stdout, what to stderr, and the exit codes."""

import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import pytest
import yaml

from adapters.in_memory.endings import Ending
from api.cli import operations
from api.cli.app import with_command_apart
from api.cli.exits import Exit
from api.cli.operations import OperationCommands
from api.cli.parameters import Connect
from domain import events as e
from domain.errors import NotAllowed, Refused, Unavailable
from domain.operating import StartWorker, StopWorker
from domain.recorded import new_events
from domain.reports import Artifact
from domain.worker import worker_stream
from infra.cli_page import PAGE, page
from tests.support.ended_tasks import CAUSE
from tests.support.terminal import Terminal


@pytest.fixture
def tally(capsysbinary: pytest.CaptureFixture[bytes]) -> Terminal:
    return Terminal(capsysbinary)


def test_run_prints_the_id_and_nothing_else(tally: Terminal) -> None:
    assert tally("run", "--task-id", "hello", "busybox", "echo", "hello") == 0
    assert (tally.out, tally.err) == ("hello\n", "")


def test_run_with_wait_prints_what_the_container_prints_and_ends_with_its_exit_code(tally: Terminal) -> None:
    tally.endings["T1"] = Ending(3, b"to stdout\n", b"to stderr\n")
    assert tally("run", "--wait", "-q", "--task-id", "T1", "busybox", "false") == 3
    assert (tally.out, tally.err) == ("to stdout\n", "to stderr\n")


def test_progress_goes_to_stderr(tally: Terminal) -> None:
    assert tally("run", "--wait", "--task-id", "T1", "busybox") == 0
    assert tally.out == ""
    assert "T1 run 1 leased to memory\nT1 run 1 started\n" in tally.err


def test_a_container_that_could_not_be_started_is_125(tally: Terminal) -> None:
    tally.endings["T1"] = Ending(error="pull-failed")
    assert tally("run", "--wait", "--task-id", "T1", "nowhere/nothing") == 125
    assert "T1 failed: pull-failed" in tally.err


@pytest.mark.parametrize(
    ("words", "apart"),
    [
        (["run", "busybox", "sh", "-c", "exit 3"], ["run", "busybox", "--", "sh", "-c", "exit 3"]),
        (
            ["run", "--wait", "-n", "a", "busybox", "ls", "-l"],
            ["run", "--wait", "-n", "a", "busybox", "--", "ls", "-l"],
        ),
        (["run", "--env=A=b", "busybox", "--wait"], ["run", "--env=A=b", "busybox", "--wait"]),
        (["run", "busybox", "--", "false"], ["run", "busybox", "--", "false"]),
        (["ls", "a", "-b"], ["ls", "a", "-b"]),
    ],
)
def test_what_follows_the_image_is_the_containers_command(words: list[str], apart: list[str]) -> None:
    assert with_command_apart(words) == apart


def test_the_containers_own_flags_are_not_ours(tally: Terminal) -> None:
    assert tally("run", "--task-id", "T1", "--env", "A=1", "--env", "B=2", "busybox", "sh", "-c", "exit 3") == 0
    [sent] = tally.platform.sent
    container = json.loads(sent.body())["container"]
    assert (container["command"], container["env"]) == (["sh", "-c", "exit 3"], {"A": "1", "B": "2"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("task.toml", 'task_id = "T1"\n[container]\nimage = "busybox"\n[timeouts]\nrun = "PT10M"\n'),
        ("task.yaml", "task_id: T1\ncontainer: {image: busybox}\ntimeouts: {run: PT10M}\n"),
        ("task.json", '{"task_id": "T1", "container": {"image": "busybox"}, "timeouts": {"run": "PT10M"}}'),
    ],
)
def test_a_task_is_submitted_from_a_file(tally: Terminal, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    tally.endings["T1"] = Ending(7)
    assert tally("submit", str(tmp_path / name), "--wait") == 7
    assert (tally.out, tally.err) == ("T1\n", "T1 failed (exit-nonzero)\n")


def test_a_workflow_is_submitted_from_a_file(tally: Terminal, tmp_path: Path) -> None:
    a, b = {"task_id": "a", "executor": "noop"}, {"task_id": "b", "executor": "noop", "depends_on": [{"task_id": "a"}]}
    (tmp_path / "flow.json").write_text(json.dumps({"workflow_id": "F1", "tasks": [a, b]}))
    assert tally("submit", str(tmp_path / "flow.json"), "--wait") == 0
    assert (tally.out, tally.err) == ("F1\n", "a succeeded\nb succeeded\n")


def test_many_tasks_each_have_their_own_outcome(tally: Terminal, tmp_path: Path) -> None:
    lonely = {"task_id": "b", "executor": "noop", "depends_on": [{"task_id": "nobody"}]}
    many = {"type": "task.submit-tasks.v1", "tasks": [{"task_id": "a", "executor": "noop"}, lonely]}
    (tmp_path / "many.json").write_text(json.dumps(many))
    assert tally("submit", str(tmp_path / "many.json")) == 5
    assert tally.out == "a\n"
    assert "tally: b: unknown-dependency" in tally.err


def test_a_task_that_took_a_result_says_so_where_it_is_shown(tally: Terminal) -> None:
    pinned = f"busybox@sha256:{'ab' * 32}"
    assert tally("run", "--cache", "--task-id", "T1", pinned, "true") == 0
    assert tally("run", "--cache", "--wait", "--task-id", "T2", pinned, "true") == 0
    assert tally.err == "T2 submitted\nT2 queued\nT2 succeeded: cached, the result is that of T1\n"
    assert tally("status", "T2") == 0
    assert "Cached     the result is that of T1, which ended " in tally.out
    assert tally("ls") == 0
    assert "cached" in next(line for line in tally.out.splitlines() if " succeeded " in line)
    assert tally("explain", "T2") == 0
    assert "1 cached  the result is that of T1, which ended at " in tally.out


def test_an_image_that_may_become_another_is_refused_for_the_cache(tally: Terminal) -> None:
    assert tally("run", "--cache", "busybox", "true") == 5
    assert "container.image: busybox may become another image" in tally.err


def test_a_dry_run_sends_nothing(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"task_id": "T1", "executor": "noop"}')
    assert tally("submit", str(tmp_path / "task.json"), "--dry-run", "-o", "json") == 0
    assert json.loads(tally.out)["type"] == "task.submit.v1"
    assert tally.platform.sent == []


NEEDY = {"task_id": "b", "executor": "noop", "depends_on": [{"task_id": "a"}]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {**NEEDY, "input": {"x": "{{tasks.c.result}}"}},
            "template-not-a-dependency: depends_on: ",
        ),
        ({**NEEDY, "input": {"x": "{{what}}"}}, "bad-template: input.x: {{what}}"),
        ({"type": "task.submit-tasks.v1", "tasks": [{**NEEDY, "input": {"x": "{{what}}"}}]}, "bad-template: input.x"),
        ({"tasks": [{**NEEDY, "task_id": "a"}]}, "self-dependency: "),
        ({"tasks": [NEEDY, {**NEEDY, "task_id": "a", "depends_on": [{"task_id": "b"}]}]}, "dependency-cycle: "),
    ],
)
def test_a_dry_run_refuses_what_the_platform_would_refuse(
    tally: Terminal, tmp_path: Path, data: dict[str, object], says: str
) -> None:
    (tmp_path / "task.json").write_text(json.dumps(data))
    assert tally("submit", str(tmp_path / "task.json"), "--dry-run") == 5
    assert says in tally.err
    assert (tally.out, tally.platform.sent) == ("", [])


def test_a_dry_run_believes_in_tasks_that_were_submitted_before(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps({**NEEDY, "input": {"x": "{{tasks.a.result}}"}}))
    assert tally("submit", str(tmp_path / "task.json"), "--dry-run") == 0


def test_the_status_of_a_task_shows_what_it_left_and_what_it_was_lacking(tally: Terminal, tmp_path: Path) -> None:
    artifact = Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7)
    tally.endings["a"] = Ending(0, result={"rows": 3}, artifacts=(artifact,))
    tasks = [{"task_id": "a", "executor": "noop"}, {**NEEDY, "input": {"x": "{{tasks.a.result.row}}"}}]
    (tmp_path / "flow.json").write_text(json.dumps({"workflow_id": "F1", "tasks": tasks}))
    assert tally("submit", str(tmp_path / "flow.json"), "--wait") == 1
    assert tally.err == "a succeeded\nb failed (template-missing-field)\n"
    tally("status", "a")
    assert 'Result     {"rows":3}\n' in tally.out
    assert f"Artifact   m  s3://b/m  7 bytes  sha256:{'ab' * 32}\n" in tally.out
    tally("status", "b")
    assert 'Detail     input.x: {{tasks.a.result.row}}: result is an object without "row"\n' in tally.out


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (
            '{"task_id": "T1", "container": {"image": "busybox", "colour": "red"}}',
            5,
            "container.colour: no such field",
        ),
        ("[1]", 5, "an object is needed"),
        ("{", 5, "cannot be read"),
        ('{"type": "task.cancel.v1", "task_id": "T1"}', 5, "type: task.cancel.v1 submits nothing"),
        (None, 3, "no such file"),
    ],
)
def test_a_bad_file_is_refused_with_the_way_out(
    tally: Terminal, tmp_path: Path, text: str | None, code: int, says: str
) -> None:
    if text is not None:
        (tmp_path / "task.json").write_text(text)
    assert tally("submit", str(tmp_path / "task.json")) == code
    assert says in tally.err
    assert (tally.out, tally.platform.sent) == ("", [])


def three_tasks(tally: Terminal) -> None:
    tally.endings["T2"] = Ending(1)
    tally.endings["T3"] = None
    for name in ("T1", "T2", "T3"):
        assert tally("run", "--task-id", name, "--name", f"name-{name}", "busybox") == 0


def test_lists_are_tables_with_the_newest_first(tally: Terminal) -> None:
    three_tasks(tally)
    assert tally("ls") == 0
    head, *lines = tally.out.splitlines()
    assert head.split()[:3] == ["ID", "NAME", "STATUS"]
    assert [line.split()[1:3] for line in lines] == [
        ["name-T3", "running"],
        ["name-T2", "failed"],
        ["name-T1", "succeeded"],
    ]
    assert "\x1b" not in tally.out


NAMES: dict[str, Callable[[str], list[str]]] = {
    "json": lambda out: [row["task_id"] for row in json.loads(out)],
    "jsonl": lambda out: [json.loads(line)["task_id"] for line in out.splitlines()],
    "yaml": lambda out: [row["task_id"] for row in yaml.safe_load(out)],
    "wide": lambda out: [line.split()[-4] for line in out.splitlines()[1:]],
}


@pytest.mark.parametrize("form", NAMES)
def test_lists_come_in_every_form(tally: Terminal, form: str) -> None:
    three_tasks(tally)
    assert tally("ls", "status=failed,running", "-o", form) == 0
    assert NAMES[form](tally.out) == ["T3", "T2"]


def test_the_form_name_is_for_other_commands(tally: Terminal) -> None:
    three_tasks(tally)
    assert tally("ls", "status=running", "-o", "name") == 0
    [ident] = tally.out.split()
    assert tally("cancel", ident, "--reason", "wrong day") == 0
    assert tally("ls", "status=running") == 0
    assert (tally.out, tally.err) == ("", "nothing found\n")


def test_a_task_is_found_by_id_beginning_and_name(tally: Terminal) -> None:
    three_tasks(tally)
    tally("ls", "status=failed", "-o", "name")
    ident = tally.out.strip()
    for ref in (ident, ident[:35], "T2"):
        assert tally("status", ref) == 0
        assert "Exit code  1\n" in tally.out
        assert "exit-nonzero" in tally.out


def test_status_as_json_holds_runs_and_events(tally: Terminal) -> None:
    three_tasks(tally)
    assert tally("status", "T2", "-o", "json") == 0
    said = json.loads(tally.out)
    assert (said["status"], len(said["attempts"]), len(said["events"])) == ("failed", 1, 6)


def test_events_of_a_task_end_with_it(tally: Terminal) -> None:
    three_tasks(tally)
    assert tally("events", "T2", "-f", "-o", "jsonl") == 0
    assert [json.loads(line)["type"] for line in tally.out.splitlines()][-1] == "task.failed.v1"
    assert tally("events", "--type", "task.failed.v1", "--type", "task.succeeded.v1") == 0
    assert len(tally.out.splitlines()) == 3


def test_logs_are_raw(tally: Terminal) -> None:
    tally.endings["T1"] = Ending(0, b"\x00\xffout\n", b"err\n")
    tally("run", "--task-id", "T1", "busybox")
    assert tally("logs", "T1") == 0
    assert (tally.raw, tally.err) == (b"\x00\xffout\n", "err\n")


def test_a_task_that_ended_without_a_run_has_no_logs_to_wait_for(tally: Terminal) -> None:
    tally.endings["T0"] = None
    tally("run", "--task-id", "T0", "busybox")
    tally("run", "--task-id", "T1", "--depends-on", "T0", "busybox")
    assert tally("logs", "T1") == 3
    assert "T1 has no run yet; wait for one with -f" in tally.err
    tally("cancel", "T1")
    assert tally("logs", "-f", "T1") == 3
    assert "T1 has no run and has ended; see: tally explain T1" in tally.err


@pytest.mark.parametrize("words", [("logs", "T1"), ("logs", "-f", "T1"), ("run", "--wait", "--task-id", "T1", "b")])
def test_output_that_was_not_all_kept_is_not_shown_as_if_it_were(tally: Terminal, words: tuple[str, ...]) -> None:
    tally.endings["T1"] = Ending(0, b"much\n", truncated=True)
    if words[0] == "logs":
        tally("run", "--task-id", "T1", "busybox")
    assert tally(*words) == 0
    assert tally.out == "much\n"
    assert "printed more than was kept" in tally.err


def test_a_workflow_shows_what_each_task_needs(tally: Terminal, tmp_path: Path) -> None:
    a, b = {"task_id": "a", "executor": "noop"}, {"task_id": "b", "executor": "noop", "depends_on": [{"task_id": "a"}]}
    (tmp_path / "flow.json").write_text(json.dumps({"workflow_id": "F1", "tasks": [a, b]}))
    tally("submit", str(tmp_path / "flow.json"))
    assert tally("workflow", "F1") == 0
    assert [line.split()[:3] for line in tally.out.splitlines()[-2:]] == [
        ["a", "succeeded", "-"],
        ["b", "succeeded", "a"],
    ]


def test_a_workflow_is_shown_in_part_and_as_mermaid_draws_it(tally: Terminal, tmp_path: Path) -> None:
    needs = {"a": [], "b": ["a"], "c": ["b"]}
    tasks = [
        {"task_id": task, "executor": "noop", "depends_on": [{"task_id": need} for need in of]}
        for task, of in needs.items()
    ]
    (tmp_path / "flow.json").write_text(json.dumps({"workflow_id": "F1", "tasks": tasks}))
    tally("submit", str(tmp_path / "flow.json"))

    assert tally("workflow", "F1", "--around", "c", "-o", "json") == 0
    assert json.loads(tally.out)["ranks"] == [["b"], ["c"]]
    assert tally("workflow", "F1", "--around", "c", "--hops", "0", "--mermaid") == 0
    assert tally.out == 'flowchart LR\n  n0["c<br>succeeded"]\n'
    assert tally("workflow", "F1", "--mermaid") == 0
    assert tally.out.splitlines()[-2:] == ["  n0 --> n1", "  n1 --> n2"]
    assert tally("workflow", "F1", "--around", "d") == 2
    assert "no task d in this workflow" in tally.err


def test_the_status_of_a_task_says_how_what_it_needs_must_end(tally: Terminal, tmp_path: Path) -> None:
    needs = [{"task_id": "a"}, {"at_least": 1, "of": [{"task_id": "a"}, {"task_id": "b", "when": "failed"}]}]
    tasks = [{"task_id": name, "executor": "noop"} for name in "abc"]
    (tmp_path / "flow.json").write_text(json.dumps({"tasks": [*tasks[:2], {**tasks[2], "depends_on": needs}]}))
    tally("submit", str(tmp_path / "flow.json"))
    assert tally("status", "c") == 0
    assert "Depends on a; 1 of a, b (failed)\n" in tally.out


def test_a_task_of_the_command_line_is_run_again_as_asked(tally: Terminal) -> None:
    tally.endings["T1"] = Ending(3)
    assert tally("run", "--task-id", "T1", "--max-runs", "2", "--retry-on", "exit:3", "--wait", "busybox") == 3
    assert "run 1 failed: exit-nonzero; the next one may begin at " in tally.err
    assert "T1 failed: retries-exhausted" in tally.err
    assert tally("run", "--retry-on", "sometimes", "busybox") == 5
    assert "not a task:\n  on[0]: give exit-nonzero, one exit code as exit:3" in tally.err


def test_ended_tasks_are_run_once_more(tally: Terminal) -> None:
    tally.endings["T1"] = Ending(3)
    tally("run", "--task-id", "T1", "busybox")
    assert tally("retry", "T1", "--as", "T2", "--wait") == 0
    assert tally.out == "T2\n"
    assert "T2 succeeded" in tally.err
    assert tally("retry", "T1", "T2") == 0
    assert len(tally.out.splitlines()) == 2
    assert tally("retry", "T1", "T2", "--as", "T3") == 2
    assert tally("retry") == 2


def test_a_task_is_given_another_priority(tally: Terminal) -> None:
    tally.endings["T1"] = None
    tally("run", "--task-id", "T1", "busybox")
    assert tally("set-priority", "T1", "--priority", "9") == 0
    assert tally("status", "T1", "-o", "json") == 0
    assert json.loads(tally.out)["priority"] == 9
    assert tally("set-priority", "T1", "--priority", "11") == 5
    assert "priority: Input should be less than or equal to 10" in tally.err
    assert tally("set-priority", "--priority", "9") == 2


def test_a_task_that_runs_is_not_paused_and_one_that_is_not_paused_is_resumed_already(tally: Terminal) -> None:
    tally.endings["T1"] = None
    tally("run", "--task-id", "T1", "busybox")
    assert tally("pause", "T1", "--reason", "audit") == 5
    assert "task T1 is running: only one that waits can be paused" in tally.err
    assert tally("resume", "T1") == 0
    assert tally("pause") == 2


def test_a_paused_task_says_who_paused_it_and_runs_when_it_is_resumed(tally: Terminal) -> None:
    tally.endings["T0"] = None
    tally("run", "--task-id", "T0", "busybox")
    tally("run", "--task-id", "T1", "--depends-on", "T0=always", "busybox")
    assert tally("pause", "T1", "--reason", "audit") == 0
    assert tally("status", "T1") == 0
    assert re.search(r"Status +paused for", tally.out)
    assert re.search(r"Paused by +client\nPaused for +audit", tally.out)
    tally("cancel", "T0")
    assert tally("status", "T1", "-o", "json") == 0
    assert json.loads(tally.out)["status"] == "paused"
    assert tally("resume", "T1") == 0
    assert tally("status", "T1", "-o", "json") == 0
    assert json.loads(tally.out)["status"] == "succeeded"


def test_limits_are_set_listed_and_lifted(tally: Terminal) -> None:
    assert tally("limit", "set", "namespace:default", "--max-running", "5") == 0
    assert tally("limit", "set", "key:report", "--rate", "100/PT1M") == 0
    assert tally("limit", "ls") == 0
    assert re.search(r"key:default/report +any +100/PT60S", tally.out)
    assert re.search(r"namespace:default +5 +any", tally.out)
    assert tally("limit", "set", "namespace:default") == 0
    assert tally.err == "namespace:default is no longer limited\n"
    assert tally("limit", "ls", "-o", "name") == 0
    assert tally.out == "key:default/report\n"
    assert tally("limit", "set", "namespace:default", "--rate", "100") == 2
    assert "give a number and a span, as 100/PT1M" in tally.err
    assert tally("limit", "set", "everything") == 5


def test_workers_are_drained_stopped_listed_and_started(tally: Terminal) -> None:
    registered(tally, "w1", "w2")
    assert tally("worker", "drain", "w1", "--reason", "a new disk") == 0
    assert tally("worker", "ls") == 0
    assert re.search(r"w1 +drained .*\nw2 +live ", tally.out)
    assert tally("worker", "ls", "-o", "wide") == 0
    assert re.search(r"w1 +drained .* client +a new disk ", tally.out)
    assert tally("worker", "stop", "w1", "w2") == 0
    assert tally("worker", "start", "w1") == 0
    assert tally("worker", "ls", "-o", "json") == 0
    assert [(one["status"], one["drained_by"]) for one in json.loads(tally.out)] == [
        ("live", None),
        ("draining", "client"),
    ]
    assert [type(sent) for sent in tally.platform.sent] == [StopWorker] * 3 + [StartWorker]


@dataclass(slots=True)
class Watched:
    """A client to whom a worker is shown as each of these in turn, first before the view is up to the drain."""

    shown: list[tuple[str | None, bool]]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def reading(self) -> Self:
        return self

    async def drain_worker(self, worker_id: str, reason: str | None = None) -> None:
        assert (worker_id, reason) == ("w1", None)

    async def workers(self) -> list[dict[str, Any]]:
        by, drained = self.shown.pop(0)
        return [{"worker_id": "w1", "drained_by": by, "drained": drained}]


async def test_a_worker_is_stopped_when_it_has_nothing_left_unless_somebody_starts_it_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "LOOK_SECONDS", 0)
    busy, empty, live = ("alice", False), ("alice", True), (None, False)

    def stopping(*shown: tuple[str | None, bool]) -> Coroutine[Any, Any, int]:
        def connect(_namespace: str | None) -> Watched:
            return Watched(list(shown))

        return OperationCommands(cast("Connect", connect)).stop("w1")

    assert await stopping(live, busy, busy, empty) == 0
    with pytest.raises(Exit, match="w1 was taken back into service meanwhile; drain it again"):
        await stopping(live, busy, live)


def test_a_worker_that_nobody_knows_is_not_drained(tally: Terminal) -> None:
    for change in ("drain", "stop", "start"):
        assert tally("worker", change, "w9") == 3
        assert "no worker w9 has ever registered; look at: tally worker ls" in tally.err
        assert tally("worker", change) == 2


def registered(tally: Terminal, *names: str) -> None:
    for name in names:
        event = e.WorkerRegistered(
            worker_id=name,
            generation=1,
            instance=worker_stream(name),
            engine="e",
            pool="default",
            slots=4,
            executors=("noop",),
            version="1",
        )
        tally.platform.log.append(new_events(worker_stream(name), 0, "_", [event], CAUSE))


def test_task_types_are_put_listed_shown_and_removed(tally: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "bake.yaml"
    file.write_text("task_type: bake\nimage: busybox\ncommand: [bake, '{{input.recipe}}']\nmemory: 64Mi\n")
    assert tally("type", "put", str(file)) == 0
    assert "bake is registered" in tally.err
    assert tally("type", "ls") == 0
    assert re.search(r"bake +1 +busybox +", tally.out)
    assert re.findall(r"^(\w+) +built in +- +-", tally.out, re.MULTILINE) == ["shell", "sleep"]
    assert tally("type", "show", "bake", "-o", "json") == 0
    shown = tally.out
    assert json.loads(shown)["command"] == ["bake", "{{input.recipe}}"]
    (tmp_path / "again.json").write_text(shown)
    assert tally("type", "put", str(tmp_path / "again.json")) == 0
    assert tally("type", "ls", "-o", "json") == 0
    assert [(row["name"], row["number"]) for row in json.loads(tally.out)] == [("bake", 1)]
    assert tally("type", "rm", "bake") == 0
    assert tally("type", "show", "bake") == 3
    assert tally("type", "rm", "boil") == 3
    assert "`tally type ls` shows those there are" in tally.err
    file.write_text("task_type: sleep\nimage: busybox\n")
    assert tally("type", "put", str(file)) == 5
    assert "sleep is built in" in tally.err
    file.write_text("task_type: bake\nimage: busybox\ncolour: red\n")
    assert tally("type", "put", str(file)) == 5
    assert "colour" in tally.err


def test_a_task_that_has_not_ended_is_not_run_once_more(tally: Terminal) -> None:
    tally.endings["T1"] = None
    tally("run", "--task-id", "T1", "busybox")
    assert tally("retry", "T1") == 5
    assert "has not ended" in tally.err


@pytest.mark.parametrize("given", ["T0=", "T0=soon"])
def test_a_condition_that_does_not_exist_is_refused_with_its_option(tally: Terminal, given: str) -> None:
    assert tally("run", "--depends-on", given, "busybox") == 5
    assert f"--depends-on {given}:\n  when: Input should be 'succeeded', 'failed', 'finished' or 'always'" in tally.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "nobody"), 3),
        (("cancel", "nobody"), 3),
        (("logs", "nobody"), 3),
        (("bogus",), 2),
        (("run",), 2),
        (("ls", "-o", "xml"), 2),
        (("ls", "status"), 2),
        (("cancel",), 2),
        (("run", "--depends-on", "nobody", "busybox"), 5),
        (("run", "--memory", "1Gb", "busybox"), 5),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_says_so_on_stderr(
    tally: Terminal, words: tuple[str, ...], code: int
) -> None:
    assert tally(*words) == code
    assert tally.out == ""
    assert tally.err != ""


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unavailable("API is not reached"), 6), (Refused(NotAllowed("not yours").problem()), 4), (TimeoutError(), 124)],
)
def test_failures_of_the_platform_have_exit_codes(tally: Terminal, error: Exception, code: int) -> None:
    tally.fails = error
    assert tally("ls") == code
    assert tally.err.startswith("tally: ")


def test_waiting_too_long_is_124_and_ends_nothing(tally: Terminal, tmp_path: Path) -> None:
    tally.endings["T1"] = None
    (tmp_path / "task.json").write_text('{"task_id": "T1", "container": {"image": "busybox"}}')
    assert tally("submit", str(tmp_path / "task.json"), "--wait", "--within", "0.05") == 124
    assert tally("status", "T1") == 0
    assert "running" in tally.out


def test_it_is_explained_why_tasks_stand_as_they_do(tally: Terminal) -> None:
    tally.endings["T0"] = Ending(3)
    tally("run", "--task-id", "T0", "busybox")
    tally("run", "--task-id", "T1", "--depends-on", "T0", "busybox")

    assert tally("explain", "T0", "T1") == 0
    first, second, third, fourth = tally.out.splitlines()
    assert re.fullmatch(r"T0 failed \d+[dhms]* ago", first)
    assert second == "  1 exit-nonzero  run 1: exit-nonzero (exit code 3)"
    assert third.startswith("T1 skipped ")
    assert fourth == "  1 skipped  T0 failed (exit-nonzero): it could no longer end as T1 needs it"

    assert tally("explain", "-o", "json", "T0") == 0
    assert json.loads(tally.out)["causes"][0]["code"] == "exit-nonzero"
    assert tally("explain", "-o", "jsonl", "T0", "T1") == 0
    assert [json.loads(line)["task_id"] for line in tally.out.splitlines()] == ["T0", "T1"]
    assert tally("explain", "-o", "json", "T0", "T1") == 0
    assert [one["task_id"] for one in json.loads(tally.out)] == ["T0", "T1"]


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b]0;root\x07", "a\rb\nc", "\x9b2J", "\u202egnp.exe"])
def test_what_others_have_written_moves_no_terminal(tally: Terminal, hostile: str) -> None:
    tally.endings["T0"] = None
    tally("run", "--task-id", "T0", "busybox")
    assert tally("cancel", "T0", "--reason", hostile) == 0

    for asked in ("explain T0", "status T0", "explain -o jsonl T0", "status -o json T0"):
        assert tally(*asked.split()) == 0
        assert not [one for one in tally.out if one != "\n" and not one.isprintable()]
    assert json.loads(tally.out)["cancel_reason"] == hostile


def test_what_is_to_be_explained_must_be_said_and_be_there(tally: Terminal) -> None:
    assert tally("explain") == 2
    assert "which tasks?" in tally.err
    assert tally("explain", "T9") == 3


def test_help_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "'aio_pika', 'httpx2', 'pydantic', 'psycopg', 'docker', 'opentelemetry', 'fastapi'"
    script = (
        f"import sys; from infra.main import run; run(['--help']); sys.exit([m for m in ({heavy}) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in ("", "[]")


def test_the_reference_page_is_that_of_the_commands() -> None:
    assert PAGE.read_text() == page(), "run: python -m infra.cli_page"
