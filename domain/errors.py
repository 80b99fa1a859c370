"""Everything that can be refused, or fail, as one tree; the branch decides the fate.

TallyportError
├── Rejected            final: the sender is told; nothing is recorded but the outcome
│   ├── InvalidMessage      unknown-type, unknown-version, unknown-field, schema
│   ├── NotFound, NameTaken, IdReused, NotAllowed, NamespaceMismatch, TooLarge, …
│   ├── DependencyCycle, SelfDependency, UnknownDependency, FailFastCondition, ForwardCondition, TooManyTasks
│   ├── UnknownTaskType, BadInput, BadSchema, TaskTypeTaken
│   ├── CacheNeedsDigest
│   └── BadTemplate, TemplateNotADependency, Unfilled
├── Refused             what a client gets to know of a refusal: the platform's problem object
├── Unreadable          final: no sender can be told; kept as a dead letter
├── Unroutable          no queue takes a message that was sent: its exchange, key or queue is wrong or gone
├── TopologyConflict    an exchange or queue is at the broker already, with other arguments
├── Unavailable         passing: try again later (database, broker or container engine down)
│   ├── EngineDown, EngineTimeout
│   └── Nacked          the broker refuses some of the messages sent: a queue that one of them is for is full
├── CannotRun           final for one run: its image, command or container is the matter, or the engine's answer
└── Superseded          this process has lost its place to another one: end it
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from domain.work import Problem

PROBLEMS = "https://tallyport.dev/problems/"


class TallyportError(Exception):
    """Root of every error of ours."""


class Rejected(TallyportError):
    """A request that will never be accepted as it stands. `code` is stable; `title` a short name for people."""

    code: ClassVar[str] = "rejected"
    title: ClassVar[str] = "Rejected"

    def __init__(self, detail: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.detail, self.errors = detail, tuple(errors)

    def problem(self) -> Problem:
        """The problem object that replies, HTTP, CLI and dead letters share."""
        return Problem(
            type=PROBLEMS + self.code,
            title=self.title,
            detail=self.detail,
            code=self.code,
            errors=self.errors,
        )


class UnknownType(Rejected):
    code, title = "unknown-type", "Unknown message type"


class UnknownVersion(Rejected):
    code, title = "unknown-version", "Unknown message version"


class UnknownField(Rejected):
    code, title = "unknown-field", "Unknown field"


class SchemaMismatch(Rejected):
    code, title = "schema", "Body does not match the schema"


class TooLarge(Rejected):
    code, title = "too-large", "Body too large"


class NamespaceMismatch(Rejected):
    code, title = "namespace-mismatch", "Namespace differs from the routing key"


class NotAllowed(Rejected):
    code, title = "not-allowed", "Not allowed"


class NotFound(Rejected):
    code, title = "not-found", "Not found"


class BadState(Rejected):
    code, title = "bad-state", "Not possible in this state"


class BadVersion(Rejected):
    code, title = "bad-version", "No such version"


class TaskIdTaken(Rejected):
    code, title = "task-id-taken", "Task id taken"


class WorkflowIdTaken(Rejected):
    code, title = "workflow-id-taken", "Workflow id taken"


class IdReused(Rejected):
    code, title = "id-reuse", "Message id used before with another body"


class ExpiredInQueue(Rejected):
    code, title = "expired-in-queue", "Expired in the queue"


class BadReplyTo(Rejected):
    code, title = "bad-reply-to", "No queue for replies"


class UnknownDependency(Rejected):
    code, title = "unknown-dependency", "Unknown dependency"


class SelfDependency(Rejected):
    code, title = "self-dependency", "Task depends on itself"


class DependencyCycle(Rejected):
    code, title = "dependency-cycle", "Dependency cycle"


class TooManyTasks(Rejected):
    code, title = "too-many-tasks", "Too many tasks"


class FailFastCondition(Rejected):
    code, title = "fail-fast-condition", "Condition that fail-fast would cancel"


class ForwardCondition(Rejected):
    code, title = "forward-condition", "Condition on a task that may come into the workflow"


class DuplicateTaskId(Rejected):
    code, title = "duplicate-task-id", "Task id given twice"


class UnknownTaskType(Rejected):
    code, title = "unknown-task-type", "Unknown task type"


class BadInput(Rejected):
    code, title = "bad-input", "Input does not fit the task type"


class BadSchema(Rejected):
    code, title = "bad-schema", "Not a schema for inputs"


class TaskTypeTaken(Rejected):
    code, title = "task-type-taken", "Task type built in"


class CacheNeedsDigest(Rejected):
    code, title = "cache-needs-digest", "Image that may become another"


class BadTemplate(Rejected):
    code, title = "bad-template", "Not a template"


class TemplateNotADependency(Rejected):
    code, title = "template-not-a-dependency", "Template of a task that is not waited for"


class Unfilled(Rejected):
    """A template cannot be filled: at its submission that refuses a task, later it fails it."""


class TemplateMissingField(Unfilled):
    code, title = "template-missing-field", "Template of what is not there"


class TemplateTooLarge(Unfilled):
    code, title = "template-too-large", "Too large when filled"


class BadItems(Unfilled):
    code, title = "bad-items", "Items that are no list"


class TooManyItems(Unfilled):
    code, title = "too-many-items", "Too many items"


class BadSchedule(Rejected):
    code, title = "bad-schedule", "Schedule cannot be"


class WorkerIdTaken(Rejected):
    code, title = "worker-id-taken", "Worker id in use on another engine"


class StaleGeneration(Rejected):
    code, title = "stale-generation", "Worker generation is over"


class BadQuery(Rejected):
    code, title = "bad-query", "Bad query"


class AmbiguousId(Rejected):
    code, title = "ambiguous-id", "Ambiguous id"


class InvalidToken(Rejected):
    code, title = "invalid-token", "Token not accepted"


class InsufficientScope(Rejected):
    code, title = "insufficient-scope", "Scope missing"


class Refused(TallyportError):
    """The platform has refused what its client asked; `problem` is what it said."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Unreadable(TallyportError):
    """A message that cannot even be judged. `reason` is a stable code, `detail` says what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Unroutable(TallyportError):
    """The broker took a message and no queue is bound for it."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(f'no queue takes messages of exchange "{exchange}" with routing key {routing_key}')
        self.exchange, self.routing_key = exchange, routing_key


class TopologyConflict(TallyportError):
    """What is to be declared is there, but different: delete it there, or run the version that made it."""


class Unavailable(TallyportError):
    """A dependency does not answer now; nothing is known to be wrong with the request."""


class StreamsMoved(TallyportError):
    """Others have appended to these streams since they were loaded."""

    def __init__(self, streams: frozenset[UUID]) -> None:
        super().__init__(f"{len(streams)} streams have moved")
        self.streams = streams


class Nacked(Unavailable):
    """The broker has answered for all messages and refuses these. Queues that do not refuse have taken them."""

    def __init__(self, ids: Sequence[UUID]) -> None:
        super().__init__(f"broker: {len(ids)} messages refused (nack), the first {ids[0]}; is a queue full?")
        self.ids = tuple(ids)


class EngineDown(Unavailable):
    """The container engine does not answer."""


class EngineTimeout(Unavailable):
    """The container engine did not answer in time."""


class Superseded(TallyportError):
    """Another instance has taken this consumer's turn."""


class CannotRun(TallyportError):
    """A run cannot start. `code` is stable and becomes its reason in the history; `detail` says what was seen."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail
