"""`tally schedule`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from api.cli.exits import USAGE, Exit, say, well_formed
from api.cli.output import COMMON, Column, Common, View, document, field, ident, moment, rows, write
from api.cli.parameters import Connect

if TYPE_CHECKING:
    from domain.commands import ScheduleCommand
    from domain.work import Reply

SCHEDULES = (
    Column("SCHEDULE", field("schedule_id")),
    Column("STATUS", field("status")),
    Column("WHEN", lambda row, wide: when(row["spec"])),
    Column("OVERLAP", lambda row, wide: row["spec"].get("overlap", "skip")),
    Column("UPDATED", moment("updated_at")),
    Column("NAMESPACE", field("namespace"), wide=True),
    Column("CHANGED BY", field("changed_by"), wide=True),
    Column("ID", field("id"), wide=True),
)
LAST = (
    Column("LAST", lambda row, wide: str(row["nominal"]).replace("+00:00", "Z")),
    Column("STATUS", field("status")),
    Column("TASK", ident("task")),
    Column("TASK STATUS", field("task_status")),
    Column("REASON", field("reason")),
    Column("COUNT", field("count")),
    Column("TO", field("to"), wide=True),
    Column("BY", field("by"), wide=True),
    Column("DETAIL", field("detail"), wide=True),
)


def when(spec: View) -> str:
    """The rule, in few words."""
    if "cron" in spec:
        return f"{spec['cron']} {spec.get('timezone', 'UTC')}"
    return f"every {spec['interval']}" if "interval" in spec else f"at {spec['at']}"


@dataclass(frozen=True, slots=True)
class ScheduleCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def put(
        self,
        file: Annotated[str, Parameter(allow_leading_hyphen=True)],
        /,
        *,
        common: Common = COMMON,
    ) -> int:
        """Make the schedule that a TOML, YAML or JSON file describes, or change it into that.

        Parameters
        ----------
        file
            The file; - is stdin, as JSON or YAML.
        """
        from api.cli.documents import schedule_in

        return await self._send(schedule_in(file, common.namespace), common)

    async def ls(self, *, common: Common = COMMON) -> int:
        """List the schedules."""
        async with self.connect(common.namespace) as client:
            rows(await client.reading.schedules(common.namespace), SCHEDULES, common, name="schedule_id")
        return 0

    async def next(self, schedule_id: str, /, *, count: int = 10, common: Common = COMMON) -> int:
        """Show when a schedule fires next, and what became of its last times.

        Parameters
        ----------
        schedule_id
            Its name.
        count
            How many of each at most.
        """
        async with self.connect(common.namespace) as client:
            found = await client.reading.fires(schedule_id, client.namespace, count, count)
        if not common.people:
            document(found, common)
            return 0
        write("".join(f"{one}\n" for one in ["NEXT", *found["next"]]))
        if found["last"]:
            write("\n")
            rows(found["last"], LAST, common)
        return 0

    async def pause(self, schedule_id: str, /, *, common: Common = COMMON) -> int:
        """Have a schedule fire no more until it is resumed.

        Parameters
        ----------
        schedule_id
            Its name.
        """
        from domain.commands import PauseSchedule

        return await self._tell(PauseSchedule, schedule_id, {}, common)

    async def resume(self, schedule_id: str, /, *, common: Common = COMMON) -> int:
        """Have a paused schedule fire again; what was due meanwhile is skipped.

        Parameters
        ----------
        schedule_id
            Its name.
        """
        from domain.commands import ResumeSchedule

        return await self._tell(ResumeSchedule, schedule_id, {}, common)

    async def rm(self, schedule_id: str, /, *, common: Common = COMMON) -> int:
        """Take a schedule away; its tasks stay as they are.

        Parameters
        ----------
        schedule_id
            Its name.
        """
        from domain.commands import DeleteSchedule

        return await self._tell(DeleteSchedule, schedule_id, {}, common)

    async def trigger(self, schedule_id: str, /, *, as_if: str | None = None, common: Common = COMMON) -> int:
        """Have a schedule fire now, whatever runs; prints the task.

        Parameters
        ----------
        schedule_id
            Its name.
        as_if
            The time to fire for, such as 2026-11-20T02:30:00+01:00; left out: now. It fires once for each time.
        """
        from domain.commands import TriggerSchedule

        return await self._tell(TriggerSchedule, schedule_id, {"as_if": _time("--as-if", as_if)}, common)

    async def backfill(
        self,
        schedule_id: str,
        /,
        *,
        begin: Annotated[str, Parameter(name="--from")],
        end: Annotated[str, Parameter(name="--to")],
        common: Common = COMMON,
    ) -> int:
        """Have a schedule fire now for each of its times in a span that it has not fired for; prints the tasks.

        Parameters
        ----------
        schedule_id
            Its name.
        begin
            The first time of the span, such as 2026-11-20T00:00:00Z.
        end
            The last.
        """
        from domain.commands import BackfillSchedule

        span = {"from": _time("--from", begin), "to": _time("--to", end)}
        return await self._tell(BackfillSchedule, schedule_id, span, common)

    async def _tell(
        self, cls: "type[ScheduleCommand]", schedule_id: str, asked: Mapping[str, object], common: Common
    ) -> int:
        with well_formed(f"not a {cls.TYPE}"):
            named = {"schedule_id": schedule_id, "namespace": common.namespace or "default"}
            command = cls.model_validate({**named, **asked})
        return await self._send(command, common)

    async def _send(self, command: "ScheduleCommand", common: Common) -> int:
        async with self.connect(command.namespace) as client:
            _, reply = await client.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        _said(reply, common)
        return 0


def _said(reply: "Reply", common: Common) -> None:
    if not common.people and common.output != "name":
        document(reply.model_dump(mode="json", exclude_none=True), common)
    elif reply.tasks is not None:
        write("".join(f"{task.task_id}\n" for task in reply.tasks))
        if not reply.tasks and not common.quiet:
            say("no time of the schedule lies in this span")
    else:
        write(f"{reply.task_id or reply.schedule_id}\n")


def _time(option: str, given: str | None) -> datetime | None:
    try:
        return None if given is None else datetime.fromisoformat(given)
    except ValueError:
        raise Exit(USAGE, f"{option} {given}: give a time such as 2026-11-20T02:30:00Z") from None
