"""Kinds of parameters that several commands take."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from api.cli.exits import USAGE, Exit

if TYPE_CHECKING:
    from api.client import Client

Connect: TypeAlias = "Callable[[str | None], AbstractAsyncContextManager[Client]]"
"""Opens a client of the running platform, in a namespace (None: `default`)."""

Flag = Annotated[bool, Parameter(negative=())]
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative=())]
Several = Annotated[tuple[str, ...], Parameter(negative=())]


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE in two. Raises Exit."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Exit(USAGE, f"{text}: give NAME=VALUE")
    return name, value
