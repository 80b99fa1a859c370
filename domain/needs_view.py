"""What a task depends on, as its view shows it. Pure."""

from domain import events as e
from domain.dependencies import requirements


def needs(event: e.TaskSubmitted) -> list[dict[str, str | int]]:
    """Each task that is needed, and how it must end; of a set also how many of it must."""
    ids = {need.task_id: str(need.stream) for need in event.depends_on}
    return [
        {"task_id": name, "id": ids[name], "when": when}
        | ({} if one.at_least == len(one.of) else {"at_least": one.at_least, "set": number})
        for number, one in enumerate(requirements(event.spec.depends_on))
        for name, when in one.of.items()
    ]
