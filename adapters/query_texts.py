"""The SQL of the queries. PostgreSQL writes the JSON: a page costs a third of what building it here would."""

HEAD = "(SELECT coalesce(max(position), 0) FROM consumers WHERE name = 'projector')"

_TASK_BRIEF = (
    "t.id, t.task_id, t.name, t.namespace, t.status, t.reason, t.priority, t.pool, t.executor, t.task_type, t.image, "
    "t.labels, t.workflow_id, t.workflow, t.created_at, t.queued_at, t.started_at, t.completed_at, t.updated_at, "
    "t.worker_id, t.run_id, t.run, t.run AS runs, t.exit_code, t.oom_killed, t.cancelled_by, t.cancel_reason, "
    "t.waits_until, t.retry_of, t.forked_from, t.cached_from::json, t.parent, t.parent_id, t.item_index, t.children, "
    "t.paused_by, t.pause_reason, "
    "t.because, t.verified, t.trace_id, t.correlation_id, t.version, t.position"
)
_TASK_FULL = f"{_TASK_BRIEF}, t.detail, t.depends_on::json, t.result::json, t.artifacts::json, t.spec::json"
_RUN = (
    "r.id, r.id AS run_id, r.task, r.task_id, r.namespace, r.number, r.number AS run, r.fence, r.worker_id, r.status, "
    "r.reason, r.leased_at, r.started_at, r.ended_at, r.container_id, r.image_digest, r.exit_code, r.oom_killed, "
    "r.signal, r.error::json, r.log_bytes, r.log_sha256, r.log_truncated, r.version, r.position"
)
_EVENT = (
    "e.notification_id AS position, e.originator_version AS version, e.event_id AS id, e.topic AS type, "
    "e.originator_id AS stream, e.namespace, e.recorded_at AS time, e.correlation_id, e.causation_id, e.actor, "
    "e.traceparent, convert_from(e.state, 'UTF8')::json AS data"
)
_COUNTS = (
    "(SELECT coalesce(json_object_agg(c.status, c.n), '{}') FROM (SELECT t.status, count(*) AS n FROM tasks t "
    "WHERE t.workflow = w.id GROUP BY t.status) c) AS counts"
)
_WORKFLOW = (
    f"w.id, w.workflow_id, w.namespace, w.status, w.open, w.tasks, w.on_failure, {_COUNTS}, w.created_at, "
    "w.completed_at, w.updated_at, w.cancelled_by, w.cancel_reason, w.because, w.retry_of, w.trace_id, "
    "w.correlation_id, w.version, w.position"
)
_NODES = (
    "(SELECT coalesce(json_agg(json_build_object('task_id', n.node->>'task_id', 'id', n.node->>'id', "
    "'depends_on', n.node->'depends_on', 'status', coalesce(t.status, 'blocked'), 'run', coalesce(t.run, 0), "
    "'worker_id', t.worker_id, 'exit_code', t.exit_code, 'started_at', t.started_at, 'completed_at', t.completed_at"
    ") ORDER BY n.place), '[]') FROM json_array_elements(w.nodes::json) WITH ORDINALITY AS n(node, place) "
    "LEFT JOIN tasks t ON t.id = (n.node->>'id')::uuid) AS nodes"
)
_EDGES = (
    "(SELECT coalesce(json_agg(json_build_object('from', d.needs, 'to', n.node->>'task_id') "
    "ORDER BY n.place, d.place), '[]') FROM json_array_elements(w.nodes::json) WITH ORDINALITY AS n(node, place), "
    "json_array_elements_text(n.node->'depends_on') WITH ORDINALITY AS d(needs, place)) AS edges"
)
_NEWEST = "greatest(w.position, (SELECT max(t.position) FROM tasks t WHERE t.workflow = w.id))"
_BEAT = (
    "(SELECT json_build_object('beat', b.beat, 'received_at', b.received_at, "
    "'age_seconds', round(extract(epoch FROM clock_timestamp() - b.received_at)::numeric, 3), "
    "'cpu', b.cpu, 'memory', b.memory, 'disk', b.disk) FROM worker_beats b "
    "WHERE b.worker_id = k.worker_id AND b.generation = k.generation) AS last_beat"
)


_DRAINED = (
    "(NOT EXISTS (SELECT FROM leases l WHERE l.worker_id = k.worker_id) AND EXISTS (SELECT FROM (SELECT d.topic, "
    "d.notification_id FROM events d WHERE d.originator_id = k.id AND d.topic IN ('worker.draining.v1', "
    "'worker.serving.v1') ORDER BY d.originator_version DESC LIMIT 1) AS d JOIN consumers c ON c.name = 'conductor' "
    "WHERE d.topic = 'worker.draining.v1' AND c.position >= d.notification_id)) AS drained"
)
"""The dispatcher has read that it is to be given nothing, and it has nothing left, of any namespace. By the log: the
row may be behind."""


def _held(namespaces: str) -> str:
    return (
        "(SELECT coalesce(json_agg(json_build_object('run_id', l.run_id, 'task', l.task, 'task_id', t.task_id, "
        "'namespace', t.namespace, 'fence', l.fence, 'accepted', l.accepted) ORDER BY l.run_id), '[]') "
        f"FROM leases l JOIN tasks t ON t.id = l.task WHERE l.worker_id = k.worker_id AND {namespaces}) AS held"
    )


def _json(columns: str) -> str:
    return f"(SELECT row_to_json(d)::text FROM (SELECT {columns}) d)"


def task_page(tail: str, key: str) -> str:
    """(JSON, sort key, id, head) of each task."""
    return f"SELECT {_json(_TASK_BRIEF)}, {key}, t.id::text, {HEAD} FROM tasks t {tail}"


def one_task(where: str) -> str:
    """(JSON, version, position, head)."""
    return f"SELECT {_json(_TASK_FULL)}, t.version, t.position, {HEAD} FROM tasks t WHERE {where}"


def runs(where: str) -> str:
    """(JSON, version, position, head) of each run."""
    return f"SELECT {_json(_RUN)}, r.version, r.position, {HEAD} FROM runs r WHERE {where} ORDER BY r.number"


def stream_events(where: str) -> str:
    """(JSON, version) of each event."""
    return f"SELECT {_json(_EVENT)}, e.originator_version FROM events e WHERE {where} ORDER BY 2 LIMIT %s"


def feed(where: str) -> str:
    """(JSON, position) of each event."""
    return f"SELECT {_json(_EVENT)}, e.notification_id FROM events e WHERE {where} ORDER BY 2 LIMIT %s"


def workflow_page(where: str) -> str:
    """(JSON, id, head) of each workflow, the newest first."""
    return f"SELECT {_json(_WORKFLOW)}, w.id::text, {HEAD} FROM workflows w WHERE {where} ORDER BY w.id DESC LIMIT %s"


def one_workflow(where: str) -> str:
    """(JSON, version, position of the newest event in it, its tasks' too, head)."""
    columns = f"{_WORKFLOW}, {_NODES}, {_EDGES}"
    return f"SELECT {_json(columns)}, w.version, {_NEWEST}, {HEAD} FROM workflows w WHERE {where}"


def workers(where: str, namespaces: str) -> str:
    """(JSON, version, position, head) of each worker; the parameters of `namespaces` come first."""
    columns = (
        "k.id, k.worker_id, k.generation, k.instance, k.engine, k.pool, k.slots, k.executors::json, k.labels, "
        "k.software AS version, k.status, k.registered_at, k.lost_at, k.drained_by, k.drain_reason, k.updated_at, "
        f"k.position, {_DRAINED}, {_BEAT}, {_held(namespaces)}"
    )
    return f"SELECT {_json(columns)}, k.version, k.position, {HEAD} FROM workers k WHERE {where} ORDER BY k.worker_id"


_SCHEDULE = (
    "s.id, s.schedule_id, s.namespace, s.status, s.spec::json, s.changed_by, s.created_at, s.updated_at, s.version, "
    "s.position"
)
_FIRE = (
    "f.id, f.schedule, f.schedule_id, f.namespace, f.nominal, f.status, f.task, t.status AS task_status, f.reason, "
    'f.detail, f.last AS "to", f.times AS count, f.by, f.recorded_at, f.version, f.position'
)


def schedule_page(where: str) -> str:
    """(JSON, schedule_id, id, head) of each schedule, by name."""
    order = "ORDER BY s.schedule_id, s.id LIMIT %s"
    return f"SELECT {_json(_SCHEDULE)}, s.schedule_id, s.id::text, {HEAD} FROM schedules s WHERE {where} {order}"


def one_schedule(where: str) -> str:
    """(JSON, version, position, head)."""
    return f"SELECT {_json(_SCHEDULE)}, s.version, s.position, {HEAD} FROM schedules s WHERE {where}"


def fires(where: str) -> str:
    """(JSON, head) of each time that was dealt with, the last first."""
    return (
        f"SELECT {_json(_FIRE)}, {HEAD} FROM fires f LEFT JOIN tasks t ON t.id = f.task WHERE {where} "
        "ORDER BY f.nominal DESC LIMIT %s"
    )


def limits(where: str) -> str:
    """(JSON, version, position, head) of each limit of a pool, or for which `where` holds."""
    columns = "l.scope, l.namespace, l.max_running, l.starts, l.per, l.by, l.updated_at, l.version, l.position"
    there = "(l.max_running IS NOT NULL OR l.starts IS NOT NULL)"
    which = f"{there} AND (l.scope LIKE 'pool:%%' OR {where})"
    return f"SELECT {_json(columns)}, l.version, l.position, {HEAD} FROM limits l WHERE {which} ORDER BY l.scope"


def task_types(where: str) -> str:
    """(JSON, version, position, head) of each task type for which `where` holds, unless it is removed."""
    columns = "y.name, y.namespace, y.number, y.definition::json, y.by, y.updated_at, y.version, y.position"
    rows = f"task_types y WHERE y.definition IS NOT NULL AND {where} ORDER BY y.name, y.namespace"
    return f"SELECT {_json(columns)}, y.version, y.position, {HEAD} FROM {rows}"


OUTCOME = (
    "SELECT i.reply, e.notification_id, f.namespace, i.principal FROM inbox i "
    "LEFT JOIN events e ON e.originator_id = i.stream AND e.originator_version = i.version "
    "LEFT JOIN events f ON f.originator_id = i.stream AND f.originator_version = 1 "
    "WHERE i.command_id = %s ORDER BY i.principal = %s DESC, i.recorded_at"
)
PROJECTIONS = (
    "SELECT (SELECT row_to_json(d)::text FROM (SELECT c.name, c.position, greatest(h.head - c.position, 0) AS lag, "
    "coalesce(round(extract(epoch FROM clock_timestamp() - n.recorded_at)::numeric, 3), 0) AS lag_seconds, c.turn, "
    "c.stamped_at) d), " + HEAD + " FROM consumers c "
    "CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS head FROM events) h "
    "LEFT JOIN LATERAL (SELECT e.recorded_at FROM events e WHERE e.notification_id > c.position "
    "ORDER BY e.notification_id LIMIT 1) n ON true ORDER BY c.name"
)
LOG_HEAD = "SELECT coalesce(max(notification_id), 0) FROM events"
