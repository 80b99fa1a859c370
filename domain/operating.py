"""Commands of operators: what may run at once, and which workers are given anything."""

from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import Field, model_validator

from domain.messages import Message, Name, Namespace, Text
from domain.placing import Rate


class SetLimit(Message):
    """Have at most so many tasks of a scope run at once, or start in a span; what is left out is not limited.

    `scope`: `namespace:<name>`, `pool:<name>`, or `key:<key>` of the namespace. Without `namespace` it is the one that
    the scope names.
    """

    TYPE = "limit.set.v1"
    namespace: Namespace = "default"
    scope: Annotated[
        str, Field(pattern=r"^(namespace:[a-z0-9][a-z0-9-]{0,62}|(pool|key):[A-Za-z0-9][A-Za-z0-9._:-]{0,127})$")
    ]
    max_running: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    rate: Rate | None = None

    @model_validator(mode="after")
    def _in_its_namespace(self) -> Self:
        kind, _, name = self.scope.partition(":")
        if kind == "namespace" and "namespace" not in self.model_fields_set:
            object.__setattr__(self, "namespace", name)
        if kind == "namespace" and self.namespace != name:
            raise ValueError(f"scope {self.scope} is not that of namespace {self.namespace}; make them equal")
        return self

    @property
    def whole(self) -> str:
        """The scope as it stands among those of all namespaces."""
        kind, _, name = self.scope.partition(":")
        return f"key:{self.namespace}/{name}" if kind == "key" else self.scope


class StopWorker(Message):
    """Drain a worker: give it nothing more; what it runs, it runs to the end. It stays so until it is started, whatever
    becomes of its process."""

    TYPE = "worker.stop.v1"
    namespace: ClassVar[str] = "_"
    worker_id: Name
    reason: Text | None = None


class StartWorker(Message):
    """Give a worker that was drained tasks again."""

    TYPE = "worker.start.v1"
    namespace: ClassVar[str] = "_"
    worker_id: Name


ChangeWorker: TypeAlias = StopWorker | StartWorker
"""What is asked of a worker, which belongs to no namespace."""
OperatorCommand: TypeAlias = SetLimit | ChangeWorker


def everywhere(command: Message) -> bool:
    """Whether it reaches beyond one namespace: only who speaks for all of them may ask for it."""
    match command:
        case SetLimit(scope=scope):
            return scope.startswith("pool:")
        case _:
            return isinstance(command, ChangeWorker)
