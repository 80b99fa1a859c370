"""Figures about requests, for operators."""

from typing import Protocol


class Measures(Protocol):
    """Takes note of what was answered."""

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request to the route with this template, or `-` where there is none."""
        ...
