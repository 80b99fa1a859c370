"""Conditions of a query, put together as they are wanted."""

from collections.abc import Sequence
from typing import Any

from domain.ports.querying import Allowed


class Where:
    """Conditions and their parameters, joined by AND."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> None:
        self.conditions.append(condition)
        self.parameters += parameters

    def one_of(self, column: str, values: Sequence[str]) -> None:
        """A single value is compared as such: an index that begins with the column then gives its order too."""
        if len(values) == 1:
            self.add(f"{column} = %s", values[0])
        else:
            self.add(f"{column} = ANY(%s)", list(values))

    def within(self, column: str, allowed: Allowed) -> None:
        """Only rows of these namespaces; no condition if all are allowed."""
        if allowed is not None:
            self.one_of(column, sorted(allowed))

    def text(self) -> str:
        return " AND ".join(self.conditions) or "true"
