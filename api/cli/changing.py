"""`tally cancel`, `pause`, `resume`, `retry`, `fork`, `set-priority`: each on tasks that are named or fit a filter."""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from api.cli.each import MOST, Changing, newest
from api.cli.exits import USAGE, Exit, of_several
from api.cli.output import COMMON, Common, View
from api.cli.parameters import Connect, Flag, Several, pair

if TYPE_CHECKING:
    from api.cli.each import Change

OPEN, ENDED, ANY = {"status": "open"}, {"status": "ended"}, dict[str, str]()
WAITING, PAUSED = {"status": "pending"}, {"status": "paused"}
"""Which tasks a filter means that names no status."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Chosen:
    """Which tasks, where none are named.

    Parameters
    ----------
    where
        All that fit, such as status=failed,label.team=data: the filters of `tally ls`, in one namespace.
    yes
        Do not ask first.
    """

    where: Annotated[str | None, Parameter()] = None
    yes: Flag = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class New:
    """The new tasks.

    Parameters
    ----------
    task_id
        The name of the new task, of one only; left out, its id is its name.
    wait
        Wait for the end of each; 0 only if all succeed.
    """

    task_id: Annotated[str | None, Parameter(name="--as")] = None
    wait: Flag = False


ONLY_NAMED, UNNAMED = Chosen(), New()


@dataclass(frozen=True, slots=True)
class ChangeCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def cancel(
        self,
        *ids: str,
        reason: str | None = None,
        grace: float | None = None,
        chosen: Chosen = ONLY_NAMED,
        common: Common = COMMON,
    ) -> int:
        """End tasks that have not ended.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        reason
            Why; kept in the history.
        grace
            Seconds from TERM to KILL; left out, the task's own.
        """
        from domain.commands import CancelTask

        asked = {"reason": reason, "grace": None if grace is None else timedelta(seconds=grace)}
        async with self._changing(CancelTask, OPEN, ids, chosen, common) as changing:
            return await changing.print_ids(asked)

    async def pause(
        self, *ids: str, reason: str | None = None, chosen: Chosen = ONLY_NAMED, common: Common = COMMON
    ) -> int:
        """Have tasks that wait not run before they are resumed.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        reason
            Why; kept in the history.
        """
        from domain.commands import PauseTask

        async with self._changing(PauseTask, WAITING, ids, chosen, common) as changing:
            return await changing.print_ids({"reason": reason})

    async def resume(self, *ids: str, chosen: Chosen = ONLY_NAMED, common: Common = COMMON) -> int:
        """Have paused tasks go on waiting for what they waited for, or run.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        """
        from domain.commands import ResumeTask

        async with self._changing(ResumeTask, PAUSED, ids, chosen, common) as changing:
            return await changing.print_ids({})

    async def retry(
        self,
        *ids: str,
        new: New = UNNAMED,
        chosen: Chosen = ONLY_NAMED,
        common: Common = COMMON,
    ) -> int:
        """Run tasks that have ended once more, each as a new task; prints the new ones' names.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        """
        from domain.commands import RetryTask

        _check_one("--as", new.task_id, ids)
        async with self._changing(RetryTask, ENDED, ids, chosen, common) as changing:
            return await changing.print_new({"new_task_id": new.task_id}, new.wait)

    async def fork(
        self,
        *ids: str,
        changes: Annotated[Several, Parameter(name="--set")] = (),
        from_version: Annotated[int | None, Parameter(name="--from")] = None,
        new: New = UNNAMED,
        chosen: Chosen = ONLY_NAMED,
        common: Common = COMMON,
    ) -> int:
        """Make a new task of each, with changes; the old ones stay as they are. Prints the new ones' names.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        changes
            A field and its new value, such as container.image=python:3.14-slim; JSON if it is that, null leaves the
            field out; may be given again.
        from_version
            The version of the history of one task; left out, the newest.
        """
        from domain.commands import ForkTask

        _check_one("--as", new.task_id, ids)
        _check_one("--from", from_version, ids)
        asked = {"new_task_id": new.task_id, "from_version": from_version, "changes": patch(changes)}
        async with self._changing(ForkTask, ANY, ids, chosen, common) as changing:
            return await changing.print_new(asked, new.wait)

    async def set_priority(self, *ids: str, priority: int, chosen: Chosen = ONLY_NAMED, common: Common = COMMON) -> int:
        """Have tasks that have not ended go before, or after, others that wait for a slot.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        priority
            1 to 10, 10 first; 5 is what a task has that names none.
        """
        from domain.commands import SetPriority

        async with self._changing(SetPriority, OPEN, ids, chosen, common) as changing:
            return await changing.print_ids({"priority": priority})

    @asynccontextmanager
    async def _changing(
        self, cls: "type[Change]", meant: Mapping[str, str], ids: Sequence[str], chosen: Chosen, common: Common
    ) -> "AsyncGenerator[Changing]":
        """Connected, with the tasks found and agreed to. Raises Exit, Refused."""
        from api.filters import parsed

        if bool(ids) == (chosen.where is not None):
            raise Exit(USAGE, "which tasks? give their ids or names, or --where, not both")
        if chosen.where is None:
            async with self.connect(common.namespace) as client:
                views: list[View] = []
                for ref in ids:
                    with of_several(ref):
                        views.append(await client.task(ref).view())
                yield Changing(client, cls, views, common)
            return
        filters = {**meant, **parsed(chosen.where)}
        async with self.connect(filters.pop("namespace", None) or common.namespace) as client:
            found = await client.reading.tasks(client.namespace, filters, MOST + 1)
            changing = Changing(client, cls, newest(found), common, filtered=True)
            changing.agree(filters, chosen.yes, more=len(found) > MOST)
            yield changing


def patch(fields: Sequence[str]) -> dict[str, Any]:
    """`--set container.image=…` as a merge patch. A dot in a name is written `\\.`. Raises Exit."""
    changes: dict[str, Any] = {}
    for one in fields:
        path, value = pair(one)
        *above, last = [name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path)]
        inner = changes
        for name in above:
            below = inner.setdefault(name, {})
            if not isinstance(below, dict):
                raise Exit(USAGE, f"--set {one}: {name} is set to a value as well")
            inner = cast("dict[str, Any]", below)
        inner[last] = _value([*above, last], value)
    return changes


def _value(path: Sequence[str], text: str) -> Any:
    if text != "null" and (path[0] == "labels" or path[:2] == ["container", "env"]) and len(path) > 1:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_one(option: str, value: object, ids: Sequence[str]) -> None:
    if value is not None and len(ids) != 1:
        raise Exit(USAGE, f"{option}: it is for one task that is named; leave it out, or do them one by one")
