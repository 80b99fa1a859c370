"""`tally events` and `tally logs`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from api.cli.exits import NOT_FOUND, Exit, say
from api.cli.output import (
    COMMON,
    Column,
    Common,
    View,
    compact,
    field,
    ident,
    moment,
    rows,
    short,
)
from api.cli.parameters import Connect, Follow, Several

if TYPE_CHECKING:
    from api.client import Client

PAUSE_SECONDS = 0.5
SUBJECTS = ("task_id", "workflow_id", "worker_id", "schedule_id")
EVENTS = (
    Column("POSITION", field("position")),
    Column("VER", field("version")),
    Column("AGE", moment("time")),
    Column("EVENT", field("type")),
    Column(
        "OF",
        lambda row, wide: short(
            str(next((row["data"][name] for name in SUBJECTS if row["data"].get(name)), row["stream"]))
        ),
    ),
    Column("BY", field("actor")),
    Column("CAUSED BY", ident("causation_id"), wide=True),
    Column("CHAIN", ident("correlation_id"), wide=True),
    Column("DATA", lambda row, wide: compact(row["data"]), wide=True),
)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Asked:
    """Which events.

    Parameters
    ----------
    follow
        Go on as it grows: for a task to its end.
    after
        Only what comes after this position.
    type
        Only events of this type, such as task.failed.v1; may be given again.
    limit
        How many of the log at most; with --follow, at a time.
    """

    follow: Follow = False
    after: int = 0
    type: Several = ()
    limit: int = 100


@dataclass(frozen=True, slots=True)
class HistoryCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def events(self, ref: str | None = None, /, *, asked: Asked = Asked(), common: Common = COMMON) -> int:
        """Show the history of a task, or the whole log after a position.

        Parameters
        ----------
        ref
            A task; left out, everything.
        """
        further = False
        async with self.connect(common.namespace) as client:
            pages = _log(client, common.namespace, asked) if ref is None else _task(client, ref, asked)
            async for page in pages:
                rows(page, EVENTS, common, further=further)
                further = True
        return 0

    async def logs(
        self,
        ref: str,
        /,
        *,
        follow: Follow = False,
        tail: int | None = None,
        run: int | None = None,
        common: Common = COMMON,
    ) -> int:
        """Show what a task printed, stdout on stdout and stderr on stderr.

        Parameters
        ----------
        ref
            The task.
        follow
            Go on until the run has ended; waits for it to begin.
        tail
            Only the last lines.
        run
            Number of the run; left out, the latest.
        """
        from api.cli.following import NOT_ALL_KEPT, output
        from api.told import ENDED

        async with self.connect(common.namespace) as client:
            while True:
                runs = await client.reading.runs(ref, client.namespace)
                wanted = [one for one in runs if run is None or one["number"] == run]
                if wanted or not follow or (await client.task(ref).view())["status"] in ENDED:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
            if not wanted:
                raise Exit(NOT_FOUND, await _without(client, ref, run))
            await output(client, wanted[-1]["run_id"], follow, tail)
            now = await client.reading.runs(ref, client.namespace) if follow else wanted
            if any(one["run_id"] == wanted[-1]["run_id"] and one.get("log_truncated") for one in now):
                say(NOT_ALL_KEPT)
        return 0


async def _without(client: "Client", ref: str, run: int | None) -> str:
    from api.told import ENDED

    view = await client.task(ref).view()
    none = f"{ref} has no run{'' if run is None else f' {run}'}"
    if view["cached_from"] is not None:
        return f"{none}: it took a result; see: tally logs {view['cached_from']['task_id']}"
    if view["children"] is not None:
        return f"{none}, its children have: see one with: tally logs '{ref}[0]'"
    if view["status"] in ENDED:
        return f"{none} and has ended; see: tally explain {ref}"
    return f"{none} yet; wait for one with -f"


async def _log(client: "Client", namespace: str | None, asked: Asked) -> AsyncIterator[Sequence[View]]:
    from api.told import patiently

    page = await client.reading.events(namespace, asked.after, asked.type, asked.limit)
    yield page
    after = asked.after
    while asked.follow:
        after = page[-1]["position"] if page else after
        if not page:
            await asyncio.sleep(PAUSE_SECONDS)
        page = await patiently(client.reading.events, namespace, after, asked.type, asked.limit)
        yield page


async def _task(client: "Client", ref: str, asked: Asked) -> AsyncIterator[Sequence[View]]:
    from api.told import LOOK, patiently
    from domain.events import ENDS

    def wanted(page: Sequence[View]) -> Sequence[View]:
        return [one for one in page if one["position"] > asked.after and (not asked.type or one["type"] in asked.type)]

    page = await client.reading.task_events(ref, client.namespace)
    yield wanted(page)
    version = 0
    while asked.follow and not any(one["type"] in ENDS for one in page):
        version = page[-1]["version"] if page else version
        page = await patiently(client.reading.task_events, ref, client.namespace, version, LOOK)
        yield wanted(page)
