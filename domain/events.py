"""Every event: a fact about one task, workflow or worker, recorded once and never changed.

`task_id` and `workflow_id` are the names their user gave, or the ids of their streams where he gave none;
the stream's own id travels beside the event (`ce-subject`).
"""

from typing import TypeAlias, get_args

from domain.end_events import (
    CachedFrom,
    Kept,
    TaskCancelled,
    TaskCancelling,
    TaskExpired,
    TaskFailed,
    TaskQuarantined,
    TaskSkipped,
    TaskSucceeded,
)
from domain.messages import by_type
from domain.notifications import NotificationFailed, NotificationSent
from domain.operating_events import (
    LimitChanged,
    TaskTypeChanged,
    TaskTypeRemoved,
    WorkerDraining,
    WorkerLost,
    WorkerRegistered,
    WorkerServing,
)
from domain.run_events import (
    LateResultIgnored,
    LeaseExpired,
    RunFailed,
    RunLeased,
    RunLost,
    RunStarted,
    RunSucceeded,
    RunTimingOut,
)
from domain.schedule_events import (
    FiredBy,
    FireSkipped,
    ScheduleDefined,
    ScheduleDeleted,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    SkipReason,
)
from domain.task_events import (
    AnyBlocker,
    Blocker,
    BlockerPause,
    BlockerSet,
    BlockerTime,
    ChildOf,
    ForkPoint,
    TaskBlocked,
    TaskFilled,
    TaskPaused,
    TaskPriorityChanged,
    TaskQueued,
    TaskRecalled,
    TaskResumed,
    TaskSpread,
    TaskSubmitted,
    Upstream,
)
from domain.workflow_events import (
    FormerWorkflow,
    Node,
    WorkflowCancelled,
    WorkflowExtended,
    WorkflowFinished,
    WorkflowSubmitted,
)

__all__ = [
    "ENDS",
    "EVENTS",
    "AnyBlocker",
    "Blocker",
    "BlockerPause",
    "BlockerSet",
    "BlockerTime",
    "CachedFrom",
    "ChildOf",
    "Event",
    "FireEvent",
    "FireSkipped",
    "FiredBy",
    "ForkPoint",
    "FormerWorkflow",
    "Kept",
    "LateResultIgnored",
    "LeaseExpired",
    "LimitChanged",
    "Node",
    "NotificationEvent",
    "NotificationFailed",
    "NotificationSent",
    "RunFailed",
    "RunLeased",
    "RunLost",
    "RunStarted",
    "RunSucceeded",
    "RunTimingOut",
    "ScheduleDefined",
    "ScheduleDeleted",
    "ScheduleEvent",
    "ScheduleFired",
    "SchedulePaused",
    "ScheduleResumed",
    "SkipReason",
    "TaskBlocked",
    "TaskCancelled",
    "TaskCancelling",
    "TaskEvent",
    "TaskExpired",
    "TaskFailed",
    "TaskFilled",
    "TaskPaused",
    "TaskPriorityChanged",
    "TaskQuarantined",
    "TaskQueued",
    "TaskRecalled",
    "TaskResumed",
    "TaskSkipped",
    "TaskSpread",
    "TaskSubmitted",
    "TaskSucceeded",
    "TaskTypeChanged",
    "TaskTypeEvent",
    "TaskTypeRemoved",
    "Upstream",
    "WorkerDraining",
    "WorkerEvent",
    "WorkerLost",
    "WorkerRegistered",
    "WorkerServing",
    "WorkflowCancelled",
    "WorkflowEvent",
    "WorkflowExtended",
    "WorkflowFinished",
    "WorkflowSubmitted",
    "read_event",
]

TaskEvent: TypeAlias = (
    TaskSubmitted
    | TaskBlocked
    | TaskFilled
    | TaskQueued
    | TaskSpread
    | TaskRecalled
    | RunLeased
    | RunStarted
    | RunSucceeded
    | RunFailed
    | RunTimingOut
    | LeaseExpired
    | RunLost
    | TaskSucceeded
    | TaskFailed
    | TaskCancelling
    | TaskCancelled
    | TaskSkipped
    | TaskExpired
    | TaskQuarantined
    | TaskPriorityChanged
    | TaskPaused
    | TaskResumed
    | LateResultIgnored
)

WorkflowEvent: TypeAlias = WorkflowSubmitted | WorkflowExtended | WorkflowCancelled | WorkflowFinished

WorkerEvent: TypeAlias = WorkerRegistered | WorkerLost | WorkerDraining | WorkerServing

ScheduleEvent: TypeAlias = ScheduleDefined | SchedulePaused | ScheduleResumed | ScheduleDeleted

TaskTypeEvent: TypeAlias = TaskTypeChanged | TaskTypeRemoved

FireEvent: TypeAlias = ScheduleFired | FireSkipped

NotificationEvent: TypeAlias = NotificationSent | NotificationFailed

Event: TypeAlias = (
    TaskEvent
    | WorkflowEvent
    | WorkerEvent
    | ScheduleEvent
    | FireEvent
    | LimitChanged
    | TaskTypeEvent
    | NotificationEvent
)

EVENTS: dict[str, type[Event]] = by_type(get_args(Event))
ENDS = frozenset(
    cls.TYPE for cls in (TaskSucceeded, TaskFailed, TaskCancelled, TaskSkipped, TaskExpired, TaskQuarantined)
)


def read_event(type: str, body: bytes) -> Event:
    """The event that a log row or a broker message holds. Raises KeyError for a type unknown here."""
    return EVENTS[type].model_validate_json(body)
