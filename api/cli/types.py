"""`tally type`: containers that tasks name, and what their input may be."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from api.cli.exits import say
from api.cli.output import COMMON, Column, Common, View, document, field, moment, rows
from api.cli.parameters import Connect

TYPES = (
    Column("NAME", field("name")),
    Column("VERSION", field("number")),
    Column("IMAGE", lambda row, wide: str(row["definition"]["image"])),
    Column("NAMESPACE", field("namespace"), wide=True),
    Column("BY", field("by")),
    Column("SINCE", moment("updated_at")),
)


def _built_in() -> list[View]:
    from domain.task_type import BUILT_IN

    return [{"name": name, "number": "built in", "definition": {"image": "-"}} for name in sorted(BUILT_IN)]


@dataclass(frozen=True, slots=True)
class TypeCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def put(
        self, file: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, common: Common = COMMON
    ) -> int:
        """Register the task type that a TOML, YAML or JSON file describes, or its next version.

        Parameters
        ----------
        file
            The file; - is stdin, as JSON or YAML.
        """
        from api.cli.documents import task_type_of

        async with self.connect(common.namespace) as client:
            command = task_type_of(file, client.namespace)
            await client.send(command, reply=True)
        say(f"{command.task_type} is registered")
        return 0

    async def types(self, *, common: Common = COMMON) -> int:
        """List the task types that were put; for people, also those that are built in."""
        async with self.connect(common.namespace) as client:
            found = await client.reading.task_types(common.namespace)
        rows([*found, *(_built_in() if common.people else ())], TYPES, common, name="name")
        return 0

    async def show(self, name: str, /, *, common: Common = COMMON) -> int:
        """Show a task type in the form in which it is put.

        Parameters
        ----------
        name
            Its name.
        """
        async with self.connect(common.namespace) as client:
            found = await client.reading.task_type(name, client.namespace)
        document({"task_type": name, **found["definition"]}, common, name="task_type")
        return 0

    async def remove(self, name: str, /, *, common: Common = COMMON) -> int:
        """Let no new task have a type; those that have it go on.

        Parameters
        ----------
        name
            Its name.
        """
        async with self.connect(common.namespace) as client:
            await client.remove_task_type(name)
        say(f"{name} is removed")
        return 0
