"""`tally run` and `tally submit`."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from api.cli.exits import FAILED, REFUSED, say, told, well_formed
from api.cli.output import COMMON, Common, document, write
from api.cli.parameters import Connect, Flag, Several, pair

if TYPE_CHECKING:
    from api.client import Retry, Task
    from domain.specs import DependsOn
    from domain.work import Reply


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Described:
    """The task that `tally run` makes.

    Parameters
    ----------
    name
        Name for people; left out, the image's.
    task_id
        Its id, unique in the namespace; the same id with the same task twice is one task.
    env
        Environment, as NAME=VALUE; may be given again.
    cpus
        Processors it may use, such as 0.5.
    memory
        Memory it may use, such as 512Mi.
    depends_on
        A task that must have succeeded first, or TASK=failed, TASK=finished, TASK=always; may be given again.
    timeout
        Seconds it may run.
    max_runs
        Runs that may fail: with 3, two more follow the first that fails.
    retry_on
        A reason for which another run follows: exit-nonzero, exit:3, exit:64-78, oom, timeout, pull-failed or lost;
        may be given again. Left out: exit-nonzero, oom, timeout and pull-failed.
    cache
        It is a pure function: where an equal task has succeeded in the last 7 days, it takes that one's result. The
        image must be named by its digest.
    notify
        A channel to tell of its end; may be given again.
    """

    name: str | None = None
    task_id: str | None = None
    env: Several = ()
    cpus: float | None = None
    memory: str | None = None
    depends_on: Several = ()
    timeout: float | None = None
    max_runs: int | None = None
    retry_on: Several = ()
    cache: Flag = False
    notify: Several = ()

    def task(self, image: str, command: tuple[str, ...]) -> "Task":
        """The same for the client."""
        from api.client import Cache, Task

        return Task(
            self.name or image.rpartition("/")[2].partition(":")[0],
            task_id=self.task_id,
            image=image,
            command=command or None,
            env=dict(map(pair, self.env)),
            cpus=self.cpus,
            memory=self.memory,
            depends_on=tuple(map(_need, self.depends_on)),
            timeout=None if self.timeout is None else timedelta(seconds=self.timeout),
            retry=self._retry(),
            cache=Cache() if self.cache else None,
            notify=self.notify,
        )

    def _retry(self) -> "Retry | None":
        from api.client import Retry

        if self.max_runs is None and not self.retry_on:
            return None
        runs = Retry().max_runs if self.max_runs is None else self.max_runs
        return Retry(runs, on=self.retry_on) if self.retry_on else Retry(runs)


def _need(given: str) -> "DependsOn":
    from domain.specs import DependsOn

    name, equals, when = given.partition("=")
    with well_formed(f"--depends-on {given}"):
        return DependsOn.model_validate({"task_id": name, "when": when} if equals else {"task_id": name})


@dataclass(frozen=True, slots=True)
class SubmitCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def run(
        self,
        image: str,
        /,
        *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
        wait: Flag = False,
        described: Described = Described(),
        common: Common = COMMON,
    ) -> int:
        """Submit one container; with --wait, follow what it prints and end with its exit code.

        Parameters
        ----------
        image
            Image of the container.
        command
            What it runs; left out, what the image says.
        wait
            Wait for its end.
        """
        from api.cli.following import follow

        async with self.connect(common.namespace) as client:
            with well_formed("not a task"):
                submitted = await client.submit(described.task(image, command), reply=True)
            assert submitted.reply is not None, "a reply was asked for"
            return await follow(submitted, common) if wait else _said(submitted.reply, common)

    async def submit(
        self,
        file: Annotated[str, Parameter(allow_leading_hyphen=True)],
        /,
        *,
        dry_run: Flag = False,
        wait: Flag = False,
        within: float | None = None,
        common: Common = COMMON,
    ) -> int:
        """Submit the task or workflow that a TOML, YAML or JSON file describes.

        Parameters
        ----------
        file
            The file; - is stdin, as JSON or YAML. A file with `tasks` is a workflow; one of more than 1,000 tasks is
            sent in several messages.
        dry_run
            Check it here and show what would be sent.
        wait
            Wait until all of it has ended; a task's exit code is its container's.
        within
            Seconds to wait at most.
        """
        from api.cli.documents import check, commands_of
        from api.cli.following import container_code

        commands = commands_of(file, common.namespace)
        if dry_run:
            check(commands)
            for command in commands:
                document({"type": command.TYPE, "data": command.model_dump(mode="json", exclude_none=True)}, common)
            return 0
        async with self.connect(commands[0].namespace) as client:
            reply = [(await client.send(command, reply=True))[1] for command in commands][-1]
            assert reply is not None, "a reply was asked for"
            code = _said(reply, common)
            if not wait:
                return code
            async with asyncio.timeout(within):
                tasks = await client.accepted_by(reply)
                outcomes = [await task.wait() for task in tasks]
        for task, outcome in zip(tasks, outcomes, strict=True):
            if not common.quiet:
                say(f"{task.id} {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
        if code == 0 and reply.task_id is not None:
            return container_code(outcomes[0])
        return code or (0 if all(outcome.status == "succeeded" for outcome in outcomes) else FAILED)


def _said(reply: "Reply", common: Common) -> int:
    """The names of what was accepted, or the whole reply, on stdout; what was refused of many tasks, on stderr."""
    refused = [(task.task_id, task.problem) for task in reply.tasks or () if task.problem is not None]
    for task_id, problem in refused:
        say(f"tally: {task_id or '-'}: {told(problem)}")
    if not common.people and common.output != "name":
        document(reply.model_dump(mode="json", exclude_none=True), common)
    elif reply.tasks is None:
        write(f"{reply.workflow_id or reply.task_id}\n")
    else:
        write("".join(f"{task.task_id}\n" for task in reply.tasks if task.problem is None))
    return REFUSED if refused else 0
