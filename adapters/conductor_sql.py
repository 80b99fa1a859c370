"""The statements of the conductor's rows: one for all that a step of a round reads or changes."""

from adapters.event_log import COLUMNS

ADD_WORKERS = """
INSERT INTO conductor_workers (worker_id, stream, generation, pool, slots, executors, labels, since)
SELECT %b, %b, %b, %b, %b, %b, %b::text::jsonb, seconds FROM lease_clock
ON CONFLICT (worker_id) DO UPDATE SET stream = excluded.stream, generation = excluded.generation,
  pool = excluded.pool, slots = excluded.slots, executors = excluded.executors, labels = excluded.labels,
  since = excluded.since, lost = false
"""
SET_DRAINING = """
UPDATE conductor_workers w SET draining = d.draining FROM unnest(%b::text[], %b::bool[]) AS d (worker_id, draining)
WHERE w.worker_id = d.worker_id
"""
ADD_MEMBERS = """
WITH members AS (
  INSERT INTO conductor_members (workflow, task) SELECT * FROM unnest(%b::uuid[], %b::uuid[]) ON CONFLICT DO NOTHING
  RETURNING workflow)
INSERT INTO conductor_workflows (workflow, fail_fast, open)
SELECT DISTINCT workflow, workflow = ANY(%b::uuid[]), workflow = ANY(%b::uuid[]) FROM members ON CONFLICT DO NOTHING
"""
CLOSE = """
UPDATE conductor_workflows w SET open = false, complete = NOT EXISTS (
    SELECT FROM conductor_members m WHERE m.workflow = w.workflow AND m.ended IS NULL)
WHERE w.workflow = ANY(%b::uuid[]) AND open
"""
ADD_NEEDS = """
INSERT INTO conductor_needs (downstream, need, at_least, open)
SELECT * FROM unnest(%b::uuid[], %b::int[], %b::int[], %b::int[]) ON CONFLICT DO NOTHING
"""
ADD_EDGES = """
INSERT INTO conductor_edges (downstream, need, upstream, name, met_by)
SELECT downstream, need, upstream, name, string_to_array(met_by, ' ')
FROM unnest(%b::uuid[], %b::int[], %b::uuid[], %b::text[], %b::text[]) AS e (downstream, need, upstream, name, met_by)
ON CONFLICT DO NOTHING
"""
ADD_TIMERS = """
INSERT INTO conductor_timers (task, kind, fence, due)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::int[], %b::timestamptz[])
ON CONFLICT (task, kind) DO UPDATE SET fence = excluded.fence, due = excluded.due
"""
ADD_QUEUED = """
INSERT INTO conductor_queue (task, lane, crowd, key, position)
SELECT * FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::timestamptz[], %b::bigint[])
ON CONFLICT (task) DO UPDATE SET lane = excluded.lane, crowd = excluded.crowd, key = excluded.key,
  position = excluded.position
"""
ADD_LANES = """
INSERT INTO conductor_lanes (lane, crowd, facts) SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[]::jsonb[])
ON CONFLICT DO NOTHING
"""
SET_LIMITS = """
INSERT INTO conductor_limits (scope, max_running, starts, per)
SELECT * FROM unnest(%b::text[], %b::int[], %b::int[], %b::interval[])
ON CONFLICT (scope) DO UPDATE SET max_running = excluded.max_running, starts = excluded.starts, per = excluded.per
"""
DROP_LIMITS = "DELETE FROM conductor_limits WHERE scope = ANY(%b::text[])"
MOVE_IN_QUEUE = """
UPDATE conductor_queue q SET key = q.key + m.by FROM unnest(%b::uuid[], %b::interval[]) AS m (task, by)
WHERE q.task = m.task
"""
KEEP = """
INSERT INTO conductor_cache (key, task, ended, until) SELECT * FROM unnest(%b::bytea[], %b::uuid[], %b::timestamptz[],
  %b::timestamptz[])
ON CONFLICT (key) DO UPDATE SET task = excluded.task, ended = excluded.ended, until = excluded.until
"""
LOOK_FOR = """
UPDATE conductor_queue q SET cache = l.key FROM unnest(%b::uuid[], %b::bytea[]) AS l (task, key) WHERE q.task = l.task
"""
# Of a task that was in the queue before, what is kept now is as young as it asks for.
FIND = """
WITH found AS (
    SELECT q.task, k.task AS first FROM unnest(%b::bytea[], %b::uuid[]) AS k (key, task)
    JOIN conductor_queue q ON q.cache = k.key AND NOT q.task = ANY(%b::uuid[])
    UNION
    SELECT l.task, c.task
    FROM unnest(%b::uuid[], %b::bytea[], %b::interval[], %b::timestamptz[]) AS l (task, key, ttl, at)
    JOIN conductor_cache c ON c.key = l.key AND l.at < c.until AND l.at < c.ended + l.ttl),
  hits AS (
    DELETE FROM conductor_queue q USING found WHERE q.task = found.task
    RETURNING q.task, found.first, q.lane, q.crowd, q.key, q.position)
INSERT INTO conductor_hits (task, first, lane, crowd, key, position) SELECT * FROM hits
ON CONFLICT (task) DO UPDATE SET first = excluded.first, lane = excluded.lane, crowd = excluded.crowd,
  key = excluded.key, position = excluded.position
"""
REUSED = "DELETE FROM conductor_hits WHERE task = ANY(%b::uuid[])"
MISSED = """
WITH missed AS (DELETE FROM conductor_hits WHERE task = ANY(%b::uuid[]) RETURNING task, lane, crowd, key, position)
INSERT INTO conductor_queue (task, lane, crowd, key, position) SELECT * FROM missed ON CONFLICT (task) DO NOTHING
"""
LEAVE_QUEUE = "DELETE FROM conductor_queue WHERE task = ANY(%b::uuid[])"
ENDED_BEFORE = (
    "SELECT originator_id, topic FROM events WHERE originator_id = ANY(%b::uuid[]) AND topic = ANY(%b::text[])"
)

# Of a task that is still being spread, it waits for the round that finds out which children there are.
CANCEL_MEMBERS = """
INSERT INTO conductor_cancels (task, workflow)
SELECT task, workflow FROM conductor_members m WHERE workflow = ANY(%b::uuid[]) AND ended IS NULL
  AND NOT EXISTS (SELECT FROM conductor_spreads s WHERE s.task = m.workflow)
ON CONFLICT DO NOTHING
"""

# Without parameters: it is planned once for all rounds, and its limits are known to the planner. Cancels of several
# causes come in turn, and are found one cause after the other in the index: it is not read as a whole.
AGENDA = """
(WITH RECURSIVE next AS (
   (SELECT workflow FROM conductor_cancels ORDER BY workflow LIMIT 1)
   UNION ALL
   SELECT (SELECT c.workflow FROM conductor_cancels c WHERE c.workflow > next.workflow ORDER BY c.workflow LIMIT 1)
   FROM next WHERE next.workflow IS NOT NULL)
 SELECT 'cancel', few.task, cause.workflow, NULL::text[], NULL::bigint[], NULL::bigint[], NULL::bigint[],
   NULL::timestamptz, NULL::int
 FROM (SELECT workflow FROM next WHERE workflow IS NOT NULL LIMIT {in_turn}) AS cause, LATERAL (
   SELECT task, row_number() OVER (ORDER BY task) AS place FROM (
     SELECT * FROM conductor_cancels c WHERE c.workflow >= cause.workflow ORDER BY c.workflow, task LIMIT {limit}) AS c
   WHERE c.workflow = cause.workflow) AS few
 ORDER BY few.place, cause.workflow LIMIT {limit})
UNION ALL
(SELECT 'settled', task, cause, unmet, at_least, met, open, NULL, NULL
 FROM (SELECT * FROM conductor_settled ORDER BY task LIMIT {limit}) AS settled, LATERAL (
   SELECT array_agg(least.name ORDER BY n.need) AS unmet, array_agg(n.at_least::bigint ORDER BY n.need) AS at_least,
     array_agg(n.met::bigint ORDER BY n.need) AS met, array_agg(n.open::bigint ORDER BY n.need) AS open
   FROM conductor_needs n, LATERAL (
     SELECT min(e.name COLLATE "C") AS name FROM conductor_edges e
     WHERE e.downstream = n.downstream AND e.need = n.need AND e.ended <> ALL (e.met_by)) AS least
   WHERE n.downstream = settled.task) AS needs)
UNION ALL
(SELECT 'complete', workflow, last, ends, counts, NULL, NULL, NULL, NULL
 FROM (SELECT * FROM conductor_workflows WHERE complete ORDER BY workflow LIMIT {limit}) AS complete, LATERAL (
   SELECT array_agg(ended) AS ends, array_agg(n) AS counts
   FROM (SELECT ended, count(*) AS n FROM conductor_members m WHERE m.workflow = complete.workflow GROUP BY ended) AS m
 ) AS members)
UNION ALL
(SELECT 'failing', workflow, failed, NULL, NULL, NULL, NULL, NULL, NULL
 FROM conductor_workflows WHERE failed IS NOT NULL AND NOT complete ORDER BY workflow LIMIT {limit})
UNION ALL
(SELECT 'due', task, NULL, ARRAY[kind], NULL, NULL, NULL, due, fence
 FROM conductor_timers WHERE due <= now() ORDER BY due LIMIT {limit})
UNION ALL
(SELECT 'planned', schedule, NULL, ARRAY(
   SELECT task::text FROM conductor_schedule_tasks t WHERE t.schedule = s.schedule ORDER BY task LIMIT {open}),
   NULL, NULL, NULL, done_to, NULL
 FROM conductor_schedules s WHERE due <= now() ORDER BY due LIMIT {limit})
UNION ALL
(SELECT 'hit', task, first, NULL, ARRAY[position], NULL, NULL, NULL, NULL
 FROM conductor_hits ORDER BY task LIMIT {limit})
UNION ALL
(SELECT 'spreading', task, NULL, NULL, ARRAY[next, children]::bigint[], NULL, NULL, NULL, NULL
 FROM conductor_spreads ORDER BY next, task LIMIT {limit})
"""
LOAD_AHEAD = f"""
SELECT {COLUMNS} FROM events
WHERE originator_id = ANY(%b::uuid[] || ARRAY(
  SELECT unnest(ARRAY[task, cause]) FROM (
    SELECT task, cause FROM conductor_settled ORDER BY task LIMIT %b::bigint) AS settled))
ORDER BY originator_id, originator_version
"""
STANDING = """
SELECT c.seconds, c.advanced_at, c.probe, c.probe_sent_at, c.answered, c.answered_at,
  least((SELECT min(due) FROM conductor_timers), (SELECT min(due) FROM conductor_schedules)), hosts.*
FROM lease_clock c LEFT JOIN (
  SELECT w.worker_id, w.generation, w.pool, w.executors, w.slots, coalesce(l.held, 0), b.beat, b.received_at, b.heard,
    w.granted_at, w.labels, w.draining
  FROM conductor_workers w JOIN worker_beats b ON b.worker_id = w.worker_id AND b.generation = w.generation
  LEFT JOIN (SELECT worker_id, count(*) AS held FROM leases GROUP BY worker_id) AS l ON l.worker_id = w.worker_id
  WHERE NOT w.lost) AS hosts ON true
"""
SET_CLOCK = "UPDATE lease_clock SET seconds = %b, advanced_at = %b, probe = %b, probe_sent_at = %b"

# Never waits: a lease that a beat is renewing, or a report is closing, at this moment has not expired.
EXPIRED = """
SELECT run_id, task, fence, accepted FROM leases WHERE until <= %b ORDER BY run_id LIMIT %b FOR UPDATE SKIP LOCKED
"""
SILENT = """
SELECT w.stream, w.worker_id, w.generation,
  ARRAY(SELECT run_id FROM leases WHERE leases.worker_id = w.worker_id ORDER BY run_id)
FROM conductor_workers w LEFT JOIN worker_beats b ON b.worker_id = w.worker_id AND b.generation = w.generation
WHERE NOT w.lost AND greatest(w.since, b.heard) + %b <= %b LIMIT %b
"""
# The lanes that have tasks in the queue are found one after the other in the index: it is not read as a whole.
LANES = """
WITH RECURSIVE next AS (
    (SELECT lane FROM conductor_queue ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT q.lane FROM conductor_queue q WHERE q.lane > next.lane ORDER BY q.lane LIMIT 1)
    FROM next WHERE next.lane IS NOT NULL),
  queued AS (SELECT lane FROM next WHERE lane IS NOT NULL),
  held AS (SELECT lane, count(*) AS held FROM leases WHERE lane IS NOT NULL GROUP BY lane)
SELECT lane, l.facts, coalesce(held.held, 0), queued.lane IS NOT NULL
FROM queued FULL JOIN held USING (lane) JOIN conductor_lanes l USING (lane)
"""
QUOTAS = """
SELECT q.scope, q.max_running, q.starts, q.per, s.started, s.first + q.per
FROM conductor_limits q CROSS JOIN LATERAL (
  SELECT count(*) AS started, min(at) AS first FROM (
    SELECT at FROM conductor_starts s WHERE s.scope = q.scope AND s.at > now() - q.per ORDER BY at DESC LIMIT q.starts
  ) AS last) AS s
"""
CROWD = """
WITH queued AS (SELECT task, lane, crowd FROM conductor_queue WHERE crowd IS NOT NULL)
SELECT q.task, l.facts, false FROM queued q JOIN conductor_lanes l USING (lane)
WHERE NOT EXISTS (SELECT FROM leases s WHERE s.task = q.task)
UNION ALL
SELECT s.task, l.facts, true FROM leases s JOIN conductor_lanes l USING (lane)
WHERE l.crowd IN (SELECT crowd FROM queued)
"""
WAITING = """
SELECT l.lane, q.key, q.position, q.task
FROM unnest(%b::uuid[], %b::int[]) AS l (lane, most), LATERAL (
  SELECT * FROM conductor_queue q WHERE q.lane = l.lane ORDER BY q.key, q.position LIMIT l.most) AS q
"""

DEAL = """
WITH settled AS (DELETE FROM conductor_settled WHERE task = ANY(%b::uuid[])),
  edges AS (DELETE FROM conductor_edges WHERE downstream = ANY(%b::uuid[])),
  needs AS (DELETE FROM conductor_needs WHERE downstream = ANY(%b::uuid[])),
  cancels AS (DELETE FROM conductor_cancels WHERE task = ANY(%b::uuid[])),
  workflows AS (DELETE FROM conductor_workflows WHERE workflow = ANY(%b::uuid[])),
  members AS (DELETE FROM conductor_members WHERE workflow = ANY(%b::uuid[])),
  failing AS (
    UPDATE conductor_workflows SET fail_fast = false, failed = NULL WHERE workflow = ANY(%b::uuid[])),
  timers AS (
    DELETE FROM conductor_timers t USING unnest(%b::uuid[], %b::text[]) AS d (task, kind)
    WHERE t.task = d.task AND t.kind = d.kind),
  closed AS (DELETE FROM leases WHERE run_id = ANY(%b::uuid[])),
  lost AS (
    UPDATE conductor_workers w SET lost = true
    FROM unnest(%b::text[], %b::int[]) AS l (worker_id, generation)
    WHERE w.worker_id = l.worker_id AND w.generation = l.generation)
SELECT
"""
LEASE = """
WITH unqueued AS (DELETE FROM conductor_queue WHERE task = ANY(%b::uuid[])),
  started AS (INSERT INTO conductor_starts (scope, at) SELECT * FROM unnest(%b::text[], %b::timestamptz[])),
  chosen AS (
    UPDATE conductor_workers w SET granted_at = c.at FROM unnest(%b::text[], %b::timestamptz[]) AS c (id, at)
    WHERE w.worker_id = c.id)
INSERT INTO leases (run_id, fence, task, worker_id, generation, until, lane)
SELECT * FROM unnest(%b::uuid[], %b::int[], %b::uuid[], %b::text[], %b::int[], %b::float8[], %b::uuid[]) AS l (run_id)
ORDER BY run_id
ON CONFLICT (run_id) DO UPDATE SET fence = excluded.fence, task = excluded.task, worker_id = excluded.worker_id,
  generation = excluded.generation, accepted = false, until = excluded.until, lane = excluded.lane
"""
FORGET_STARTS = (
    "DELETE FROM conductor_starts s USING conductor_limits q WHERE s.scope = q.scope AND s.at <= now() - q.per"
)
# A lane without tasks is not missed: who queues the next task makes it anew. A result is kept for a day more, for tasks
# that were queued in time and are read late.
CLEAN_UP = """
WITH cache AS (DELETE FROM conductor_cache WHERE until < now() - interval '1 day'),
  starts AS (
  DELETE FROM conductor_starts s WHERE NOT EXISTS (
    SELECT FROM conductor_limits q WHERE q.scope = s.scope AND s.at > now() - q.per))
DELETE FROM conductor_lanes l WHERE NOT EXISTS (SELECT FROM conductor_queue q WHERE q.lane = l.lane)
  AND NOT EXISTS (SELECT FROM leases s WHERE s.lane = l.lane)
  AND NOT EXISTS (SELECT FROM conductor_hits h WHERE h.lane = l.lane)
"""
