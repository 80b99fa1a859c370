"""Registered task types: a name for a container and what its input fills in. Pure."""

from typing import Any

from domain.errors import BadInput, UnknownTaskType
from domain.specs import Container, TaskSpec


def container_of(spec: TaskSpec, base_image: str) -> Container | None:
    """What will run for `spec`: its own container, its type's, or None for executor noop.

    `base_image` is the image of the built-in types. Raises UnknownTaskType, BadInput.
    """
    if spec.task_type is None:
        return spec.container
    if spec.task_type != "sleep":
        raise UnknownTaskType(f"task_type: {spec.task_type} is not registered; built in: sleep")
    return _sleep(spec.input or {}, base_image)


def _sleep(given: dict[str, Any], base_image: str) -> Container:
    seconds, message = given.get("seconds"), given.get("message", "")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 86_400:
        raise BadInput("input.seconds: a number from 0 to 86400 is needed")
    if not isinstance(message, str):
        raise BadInput("input.message: a text is needed")
    if unknown := sorted(set(given) - {"seconds", "message"}):
        raise BadInput(f"input.{unknown[0]}: task type sleep takes seconds and message")
    script = 'sleep "$1" && echo "$2"'
    return Container(image=base_image, command=("sh", "-c", script, "sleep", f"{seconds:g}", message))
