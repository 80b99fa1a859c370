"""What users say about a task type."""

from typing import Self

from pydantic import model_validator

from domain.messages import Json
from domain.placing import Cache, Concurrency, Requires
from domain.retry_spec import Retry
from domain.specs import Container, Timeouts


class Definition(Container):
    """A container, whose command and environment may hold templates of the task's input; what that input may be, as a
    JSON Schema; and what holds for tasks that do not say it themselves."""

    input_schema: dict[str, Json] | None = None
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    concurrency: Concurrency | None = None
    requires: Requires | None = None
    cache: Cache | None = None

    @model_validator(mode="after")
    def _runs_after_none(self) -> Self:
        if self.requires is not None and self.requires.same_worker_as is not None:
            raise ValueError("requires.same_worker_as: a type depends on no task; leave it out")
        return self

    @property
    def container(self) -> Container:
        """The container alone."""
        return Container.model_construct(**{name: getattr(self, name) for name in Container.model_fields})
