"""One command to each of several tasks: asked about first, told of afterwards."""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.cli.exits import FAILED, USAGE, Exit, exit_code, say, told, well_formed
from api.cli.output import Common, View, short, write

if TYPE_CHECKING:
    from api.client import Client
    from domain.commands import ChangeTask, ForkTask, RetryTask
    from domain.errors import Refused
    from domain.work import Reply

    Change = ChangeTask | RetryTask | ForkTask

MOST, SHOWN = 10_000, 5


def newest(found: Sequence[View]) -> Sequence[View]:
    """As many as are changed at once; where some are left, without those created together with the first of these, so
    that all who are left were created before all who are taken."""
    taken, left = found[:MOST], found[MOST:]
    return [view for view in taken if not left or view["created_at"] != left[0]["created_at"]] or taken


@dataclass(slots=True)
class Changing:
    """A command to each of these tasks. `filtered`: they were found by a filter, so some may have gone on meanwhile.

    `code`: the exit code so far.
    """

    client: "Client"
    cls: "type[Change]"
    views: Sequence[View]
    common: Common
    filtered: bool = False
    code: int = 0
    _became: Counter[str] = field(default_factory=Counter[str])

    @property
    def verb(self) -> str:
        """As it is typed."""
        return self.cls.TYPE.split(".")[1]

    def agree(self, filters: Mapping[str, str], yes: bool, more: bool) -> None:
        """Have a person say that these are meant. Raises Exit."""
        count = f"{'more than ' * more}{len(self.views):,} task{'s' * (len(self.views) != 1)}"
        what = ",".join(f"{name}={value}" for name, value in filters.items()) or "all"
        if not self.common.quiet:
            say(f"{count} in {self.client.namespace}: {what}")
        if more:
            oldest = min(view["created_at"] for view in self.views)
            say(
                f"tally: only the newest {len(self.views):,} of them now; go on with created-before={oldest} afterwards"
            )
        if yes or not self.views:
            return
        for view in self.views[:SHOWN]:
            say(f"  {short(view['id'])}  {view['name']}  {view['status']}")
        if not sys.stdin.isatty():
            raise Exit(USAGE, f"nobody to ask whether to {self.verb} {count}: add --yes")
        sys.stderr.write(f"{self.verb} {count}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Exit(FAILED, "nothing was changed")

    async def print_ids(self, asked: Mapping[str, object]) -> int:
        """The ids of those that were changed, on stdout; the exit code."""
        async for view, _ in self.each(asked):
            write(f"{view['id']}\n")
        return self.code

    async def print_new(self, asked: Mapping[str, object], wait: bool) -> int:
        """The names of the new tasks, on stdout, and how they end if that is waited for; the exit code."""
        made: list[Reply] = []
        async for _, reply in self.each(asked):
            write(f"{reply.task_id}\n")
            made.append(reply)
        for reply in made if wait else ():
            outcome = await self.client.task(str(reply.id)).wait()
            say(f"{reply.task_id} {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
            self.code = self.code or (0 if outcome.status == "succeeded" else FAILED)
        return self.code

    async def each(self, asked: Mapping[str, object]) -> "AsyncIterator[tuple[View, Reply]]":
        """Send the command to all of them: those that were accepted, with the replies. Raises Exit, Unavailable."""
        from domain.errors import Refused

        with well_formed(f"not a {self.cls.TYPE}"):
            commands = [
                self.cls.model_validate({"task_id": view["id"], "namespace": view["namespace"], **asked})
                for view in self.views
            ]
        views = iter(self.views)
        try:
            async for _, answer in self.client.send_each(commands):
                if isinstance(answer, Refused):
                    self._refused(next(views), answer)
                else:
                    self._became["done"] += 1
                    yield next(views), answer
        finally:
            if self.filtered and self.views and not self.common.quiet:
                say(f"{self.verb}: " + ", ".join(f"{count:,} {what}" for what, count in self._became.items()))

    def _refused(self, view: View, refused: "Refused") -> None:
        over = self.filtered and refused.problem.code == "bad-state"
        self._became["no longer possible" if over else "refused"] += 1
        self.code = self.code or (0 if over else exit_code(refused))
        say(f"tally: {view['task_id']}: {told(refused.problem)}")
