"""What each report of a worker does: its registration, and the start and finish of runs."""

from dataclasses import replace
from uuid import UUID

from consumers.batches import Batch, Verdict
from domain import worker
from domain.errors import NotFound
from domain.messages import Cause
from domain.reports import RegisterWorker, Report
from domain.task import decide
from domain.work import Reply
from domain.worker import NO_NAMESPACE, worker_stream


def judge_registration(batch: Batch, command: RegisterWorker, command_id: UUID, cause: Cause) -> Verdict:
    """Open a generation. Raises WorkerIdTaken."""
    stream = worker_stream(command.worker_id)
    state = batch.worker(stream)
    events = worker.register(state, command, alive=command.worker_id in batch.alive)
    version = batch.add(stream, NO_NAMESPACE, events, cause)
    for event in events:
        state = worker.evolve(state, stream, event)
    assert state is not None, "a registration leaves a registered worker"
    reply = Reply(
        command_id=command_id,
        outcome="accepted",
        id=stream,
        version=version,
        generation=state.registered.generation,
        installation=batch.given.installation,
    )
    return Verdict(reply, stream, version)


def judge_report(batch: Batch, report: Report, reported: Cause) -> Verdict:
    """Record the start or finish of a run; without power when its lease is over. Raises NotFound."""
    stream = report.data.task_id
    state = batch.task(stream)
    namespace = batch.namespace(stream)
    if state is None or namespace is None:
        raise NotFound(f"task_id: no task {stream}; report on the task that the offer named")
    cause = replace(reported, correlation_id=batch.streams[stream][0].cause.correlation_id)
    version = batch.change_task(stream, namespace, decide(state, report.data, batch.now), cause)
    return Verdict(Reply(command_id=report.id, outcome="accepted", id=stream, version=version), stream, version)
