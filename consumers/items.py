"""What a message asks for, one item an outcome: who asked, what to look up, and how it is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias, cast
from uuid import UUID

from consumers.batches import Batch, Verdict
from consumers.judging_again import further, has_further, judge, needs
from consumers.judging_schedules import EVENTS_A_FIRE
from consumers.reported import judge_registration, judge_report
from domain.commands import (
    COMMANDS,
    BackfillSchedule,
    Command,
    RetryWorkflow,
    SubmitTask,
    SubmitTasks,
    SubmitWorkflow,
)
from domain.errors import BadReplyTo, NamespaceMismatch, Rejected, Unreadable
from domain.letters import Letter
from domain.messages import Cause, Message
from domain.operating import ChangeWorker, everywhere
from domain.ports.handling import CommandKey, NameKey
from domain.principals import EVERY, Principal, Senders
from domain.reports import REPORTS, FinishReport, RegisterWorker, Reports, StartReport
from domain.timetable import MOST_FIRES
from domain.worker import worker_stream
from domain.workflow import MOST_TASKS

Lookups: TypeAlias = tuple[set[NameKey], set[UUID]]
Decode: TypeAlias = Callable[[Letter, Mapping[str, type[Message]]], Message]
MANY = MOST_TASKS
"""Tasks that a workflow may have whose size nobody has looked up yet."""
PLATFORM, WORKERS = "task.", "task.work."
"""How the names of the platform's queues begin, and of those that workers are answered on."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to decide, with exactly one outcome. `needs(careful)`: names and streams to look up first.

    `routing_key`: as it came. `reply_to`: the letter to answer, None when nobody waits. `worker`: whose life matters
    to the decision. `events`: how many the decision may add. `further(batch)`: what to look up once those are there.
    `only_names`: of the tasks it names nothing else matters than that they are there.
    """

    key: CommandKey
    digest: bytes
    type: str
    routing_key: str
    cause: Cause
    needs: Callable[[bool], Lookups]
    judge: Callable[[Batch, Cause], Verdict]
    reply_to: Letter | None = None
    worker: str | None = None
    events: int = 3
    further: Callable[[Batch], Lookups] | None = None
    only_names: bool = False


@dataclass(frozen=True, slots=True)
class CommandItems:
    """Items of the letters that users send."""

    senders: Senders
    decode: Decode

    def __call__(self, letter: Letter) -> list[Item]:
        """One item a command. Raises Unreadable when its sender cannot be told."""
        sender = self.senders.identify(letter.user, letter.on_behalf_of)
        try:
            _check_reply_to(letter)
            command = cast("Command", self.decode(letter, COMMANDS))
            _allow(sender, command, letter)
        except Rejected as rejected:
            return [refusal(letter, sender.name, rejected)]
        cause = _cause(letter, sender.name)
        return [
            Item(
                CommandKey(letter.id, sender.name),
                _digest(letter),
                letter.type,
                letter.routing_key,
                cause,
                lambda careful: needs(command, careful),
                lambda batch, cause: judge(batch, command, letter.id, cause),
                letter,
                events=_expected(command),
                further=(lambda batch: further(command, batch)) if has_further(command) else None,
                only_names=isinstance(command, SubmitTask | SubmitTasks | SubmitWorkflow),
            )
        ]


@dataclass(frozen=True, slots=True)
class ReportItems:
    """Items of the letters that workers send; a message may carry many reports."""

    decode: Decode

    def __call__(self, letter: Letter) -> list[Item]:
        """An item a report. Raises Unreadable for what is none."""
        try:
            _check_reply_to(letter, WORKERS if letter.type == RegisterWorker.TYPE else None)
            message = self.decode(letter, REPORTS)
        except Rejected as rejected:
            return [refusal(letter, letter.user or "worker", rejected)]
        match message:
            case RegisterWorker():
                return [_registration(letter, message)]
            case Reports():
                return [_report(letter, message.worker_id, report) for report in message.reports]
            case other:
                raise Unreadable("wrong-queue", f"{other.TYPE} does not belong here; send it to task.beats")


def refusal(letter: Letter, sender: str, rejected: Rejected) -> Item:
    """The item of a letter that is refused before its command is even looked at; nobody is told of a BadReplyTo."""

    def refuse(_batch: Batch, _cause: Cause) -> Verdict:
        raise rejected

    key = CommandKey(letter.id, sender)
    cause = _cause(letter, sender)
    told = None if isinstance(rejected, BadReplyTo) else letter
    return Item(key, _digest(letter), letter.type, letter.routing_key, cause, _nothing, refuse, told)


def _expected(command: Command) -> int:
    if isinstance(command, BackfillSchedule):
        return MOST_FIRES * EVENTS_A_FIRE
    return 1 + 2 * (MANY if isinstance(command, RetryWorkflow) else len(getattr(command, "tasks", "1")))


def _check_reply_to(letter: Letter, own: str | None = None) -> None:
    """Raises BadReplyTo for a queue of the platform's, unless its name begins with `own`."""
    to = letter.reply_to or ""
    if to.startswith(PLATFORM) and not (own and to.startswith(own)):
        raise BadReplyTo(f"reply_to: {to} belongs to the platform; name amq.rabbitmq.reply-to or a queue of your own")


def _allow(sender: Principal, command: Command, letter: Letter) -> None:
    if letter.namespace not in ("", command.namespace) and not isinstance(command, ChangeWorker):
        raise NamespaceMismatch(
            f"namespace: the body says {command.namespace}, the routing key ends in {letter.namespace}; make them equal"
        )
    sender.require(EVERY if everywhere(command) else command.namespace)


def _registration(letter: Letter, message: RegisterWorker) -> Item:
    actor = f"worker:{message.worker_id}"
    return Item(
        CommandKey(letter.id, actor),
        _digest(letter),
        letter.type,
        letter.routing_key,
        _cause(letter, actor),
        lambda careful: (set(), {worker_stream(message.worker_id)}),
        lambda batch, cause: judge_registration(batch, message, letter.id, cause),
        letter,
        message.worker_id,
    )


def _report(letter: Letter, worker_id: str, report: StartReport | FinishReport) -> Item:
    actor = f"worker:{worker_id}"
    digest = sha256(report.model_dump_json().encode()).digest()
    traceparent = report.data.traceparent or letter.traceparent
    cause = Cause(str(report.id), str(report.id), actor, traceparent)
    return Item(
        CommandKey(report.id, actor),
        digest,
        report.type,
        letter.routing_key,
        cause,
        lambda careful: (set(), {report.data.task_id}),
        lambda batch, cause: judge_report(batch, report, cause),
    )


def _cause(letter: Letter, actor: str) -> Cause:
    return Cause(letter.chain, str(letter.id), actor, letter.traceparent, letter.tracestate)


def _digest(letter: Letter) -> bytes:
    return sha256(letter.data).digest()


def _nothing(_careful: bool) -> Lookups:
    return set(), set()
