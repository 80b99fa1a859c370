"""All that is declared at the broker: who sends what where, and what becomes of what nobody takes.

| exchange        | kind   | queue                   | who reads                                       |
|-----------------|--------|-------------------------|-------------------------------------------------|
| `task.commands` | topic  | `task.commands.handler` | the command handler                             |
| `task.reports`  | topic  | `task.reports.handler`  | the report handler                              |
| `task.beats`    | direct | `task.beats.handler`    | the beat handler, one at a time                 |
| `task.work`     | direct | `task.work.<worker>`    | that worker alone; declared by it               |
| `task.logs`     | topic  | `task.logs.keeper`      | the log keeper                                  |
| `task.events`   | topic  | `task.events.log`       | late readers, by offset; users bind own queues  |
| `task.dead`     | topic  | `task.dead`             | the command handler; what the broker gave up on |
"""

from typing import Any

from domain.ports.topology import Argument, Binding, Exchange, Queue, Topology

COMMANDS, REPORTS, BEATS = "task.commands", "task.reports", "task.beats"
WORK, LOGS, EVENTS, DEAD = "task.work", "task.logs", "task.events", "task.dead"
UNROUTED = "task.unrouted"
COMMANDS_QUEUE, REPORTS_QUEUE, BEATS_QUEUE = "task.commands.handler", "task.reports.handler", "task.beats.handler"
LOGS_QUEUE, EVENTS_QUEUE, DEAD_QUEUE = "task.logs.keeper", "task.events.log", "task.dead"
BEAT_KEY, ALL_WORKERS = "beat", "all"

DELIVERY_LIMIT = 100  # a backstop: poison is counted by the handler, which knows the message that was at fault
# What is given up on here has nowhere to go. RabbitMQ 4 would drop it after 20 deliveries, 3.10 reads -1 as at once.
HARDLY_EVER = 1_000_000_000
WORK_EXPIRES = 600_000  # milliseconds without its worker; the log offers again

_QUORUM: dict[str, Argument] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
# Nothing leaves for task.dead before it has arrived there; a full queue refuses rather than drops.
_KEPT: dict[str, Argument] = {
    **_QUORUM,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}

TOPOLOGY = Topology(
    exchanges=(
        Exchange(UNROUTED, "fanout"),
        Exchange(COMMANDS, "topic", {"alternate-exchange": UNROUTED}),
        Exchange(REPORTS, "topic"),
        Exchange(BEATS, "direct"),
        Exchange(WORK, "direct"),
        Exchange(LOGS, "topic"),
        Exchange(EVENTS, "topic"),
        Exchange(DEAD, "topic"),
    ),
    queues=(
        Queue(DEAD_QUEUE, {"x-queue-type": "quorum", "x-delivery-limit": HARDLY_EVER}),
        Queue(COMMANDS_QUEUE, _KEPT),
        Queue(REPORTS_QUEUE, _KEPT),
        Queue(BEATS_QUEUE, {**_QUORUM, "x-single-active-consumer": True}),
        Queue(LOGS_QUEUE, _KEPT),
        Queue(EVENTS_QUEUE, {"x-queue-type": "stream", "x-max-age": "7D"}),
    ),
    bindings=(
        Binding(DEAD, DEAD_QUEUE, "#"),
        Binding(COMMANDS, COMMANDS_QUEUE, "#"),
        Binding(REPORTS, REPORTS_QUEUE, "#"),
        Binding(BEATS, BEATS_QUEUE, BEAT_KEY),
        Binding(LOGS, LOGS_QUEUE, "#"),
        Binding(EVENTS, EVENTS_QUEUE, "#"),
    ),
)


def work_queue(worker_id: str) -> str:
    """Where a worker reads, and where it is answered: the `reply_to` of its registration."""
    return f"{WORK}.{worker_id}"


def worker_topology(worker_id: str) -> Topology:
    """What a worker declares for itself: its queue, bound by its own id and by `all`."""
    queue = work_queue(worker_id)
    return Topology(
        queues=(Queue(queue, {"x-queue-type": "classic", "x-expires": WORK_EXPIRES}),),
        bindings=(Binding(WORK, queue, worker_id), Binding(WORK, queue, ALL_WORKERS)),
    )


def definitions(topology: Topology) -> dict[str, Any]:
    """The topology as RabbitMQ imports it into one virtual host (docs/reference/definitions.json)."""
    return {
        "exchanges": [
            {
                "name": exchange.name,
                "type": exchange.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": exchange.arguments,
            }
            for exchange in topology.exchanges
        ],
        "queues": [
            {"name": queue.name, "durable": True, "auto_delete": False, "arguments": queue.arguments}
            for queue in topology.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for binding in topology.bindings
        ],
    }
