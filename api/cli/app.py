"""The commands that talk to a running platform, as one cyclopts application."""

from collections.abc import Sequence

from cyclopts import App

from api.cli.changing import ChangeCommands
from api.cli.explaining import ExplainCommands
from api.cli.history import HistoryCommands
from api.cli.limits import LimitCommands
from api.cli.operations import OperationCommands
from api.cli.parameters import Connect
from api.cli.schedules import ScheduleCommands
from api.cli.submitting import SubmitCommands
from api.cli.tasks import TaskCommands
from api.cli.types import TypeCommands
from api.cli.workflows import WorkflowCommands

VALUELESS = frozenset({"--wait", "--quiet", "-q", "--no-color", "--help", "-h"})


def client_app(connect: Connect, version: str) -> App:
    """`tally` without what needs servers of its own; `connect` opens a client in a namespace."""
    app = App(
        name="tally",
        help="Run tasks in containers and never forget what happened.",
        version=version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    submits, tasks, history = SubmitCommands(connect), TaskCommands(connect), HistoryCommands(connect)
    changes, workflows = ChangeCommands(connect), WorkflowCommands(connect)
    operations, limits = OperationCommands(connect), LimitCommands(connect)
    for command in (
        submits.run,
        submits.submit,
        tasks.ls,
        tasks.status,
        changes.cancel,
        changes.pause,
        changes.resume,
        changes.retry,
        changes.fork,
        changes.set_priority,
    ):
        app.command(command)
    for command in (history.events, history.logs, ExplainCommands(connect).explain):
        app.command(command)
    workflow = App(name="workflow", help="Show a workflow, cancel it, or run it once more from its failed tasks.")
    workflow.default(workflows.show)
    workflow.command(workflows.cancel, name="cancel")
    workflow.command(workflows.retry, name="retry")
    app.command(workflow)
    schedule, schedules = App(name="schedule", help="What is submitted again and again."), ScheduleCommands(connect)
    for change in (schedules.put, schedules.pause, schedules.resume, schedules.trigger, schedules.backfill):
        schedule.command(change)
    for one in (schedules.ls, schedules.next, schedules.rm):
        schedule.command(one)
    app.command(schedule)
    limit = App(name="limit", help="How many tasks may run at once, and start in a span.")
    limit.command(limits.set_limit, name="set")
    limit.command(limits.limits, name="ls")
    app.command(limit)
    app.command(_types(TypeCommands(connect)))
    projection = App(name="projection", help="The views and their followers of the log.")
    projection.command(operations.projections, name="ls")
    app.command(_workers(operations))
    app.command(projection)
    return app


def _workers(commands: OperationCommands) -> App:
    app = App(name="worker", help="The workers, and which of them are given nothing.")
    app.command(commands.workers, name="ls")
    for change in (commands.drain, commands.stop, commands.start):
        app.command(change)
    return app


def _types(commands: TypeCommands) -> App:
    app = App(name="type", help="Task types: containers that tasks name, and what their input may be.")
    app.command(commands.put)
    app.command(commands.types, name="ls")
    app.command(commands.show)
    app.command(commands.remove, name="rm")
    return app


def with_command_apart(words: Sequence[str]) -> list[str]:
    """`words` of the command line with `--` before the container's own command, as after `docker run IMAGE`."""
    if not words or words[0] != "run" or "--" in words:
        return list(words)
    positional, value = 0, False
    for at, word in enumerate(words[1:], start=1):
        if value or word.startswith("-"):
            value = not value and word not in VALUELESS and "=" not in word
            continue
        positional += 1
        if positional == 2:
            return [*words[:at], "--", *words[at:]]
    return list(words)
