"""`tally explain`: why a task stands as it does."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.cli.exits import USAGE, Exit, of_several
from api.cli.output import COMMON, Common, View, age, colored, compact, document, write
from api.cli.parameters import Connect
from api.cli.plain import plain


@dataclass(frozen=True, slots=True)
class ExplainCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def explain(self, *ids: str, common: Common = COMMON) -> int:
        """Say why tasks stand as they do: all that they wait for, who has them, or why they ended.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        """
        if not ids:
            raise Exit(USAGE, "which tasks? give their ids or names")
        async with self.connect(common.namespace) as client:
            found: list[View] = []
            for ref in ids:
                with of_several(ref):
                    found.append(await client.reading.explain(ref, client.namespace))
        if common.people:
            write("".join(told(view, common.color) for view in found))
        elif common.output in ("jsonl", "name"):
            write("".join(f"{compact(view) if common.output == 'jsonl' else view['id']}\n" for view in found))
        else:
            document(found[0] if len(found) == 1 else found, common)
        return 0


def told(view: View, color: bool) -> str:
    """A line about the task, and one for each cause."""
    from api.told import ENDED

    causes: Sequence[View] = view["causes"]
    width = max(len(one["code"]) for one in causes)
    since = age(view["since"])
    line = f"{view['task_id']} {view['status']} " + (f"{since} ago" if view["status"] in ENDED else f"for {since}")
    head = colored(line, view) if color else line
    lines = [f"  {number} {one['code']:<{width}}  {plain(one['detail'])}" for number, one in enumerate(causes, start=1)]
    return "\n".join([head, *lines]) + "\n"
