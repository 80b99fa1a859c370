"""Why a task stands as it does, as a Python program reads it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.ports.platform import View


@dataclass(frozen=True, slots=True)
class Why:
    """One reason, of those in docs/reference/explain.md. `detail`: for people; `facts`: by name, as JSON has them."""

    code: str
    detail: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All for which a task has stood so since `since`; as text, what people read."""

    task_id: str
    status: str
    since: datetime
    causes: tuple[Why, ...]

    def __str__(self) -> str:
        numbered = (f"{number} {one.code}  {one.detail}" for number, one in enumerate(self.causes, start=1))
        return f"{self.task_id} {self.status}: {' · '.join(numbered)}"


def explanation_of(view: View) -> Explanation:
    """An explanation as the API writes it."""
    causes = tuple(
        Why(one["code"], one["detail"], {name: value for name, value in one.items() if name not in {"code", "detail"}})
        for one in view["causes"]
    )
    return Explanation(view["task_id"], view["status"], datetime.fromisoformat(view["since"]), causes)
