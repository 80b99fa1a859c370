-- migrate:up
SET ROLE tally_owner;

-- What waits for what, as of the conductor's position: changed only in its turns, and as good as empty when all is done.
-- The rows come and go fast, so they are cleaned up early.

-- Queued tasks. `key`: queued at, put back by priority; constant, so the order is an index. `crowd`: where a task is
-- cancelled rather than have this one wait. `cache`: the key under which it would take a result.
CREATE TABLE conductor_queue (
  task uuid PRIMARY KEY,
  lane uuid NOT NULL,
  crowd text,
  key timestamptz NOT NULL,
  position bigint NOT NULL,
  cache bytea
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_queue_order_idx ON conductor_queue (lane, key, position);
CREATE INDEX conductor_queue_crowd_idx ON conductor_queue (crowd) WHERE crowd IS NOT NULL;
CREATE INDEX conductor_queue_cache_idx ON conductor_queue (cache) WHERE cache IS NOT NULL;

-- What the tasks of a lane have in common: what they need of a worker, and which limits count them. Kept for a day or so
-- after the last of them.
CREATE TABLE conductor_lanes (
  lane uuid PRIMARY KEY,
  crowd text,
  facts jsonb NOT NULL
);

-- Limits that were set, and, where a rate is, when each task that it counts was given a slot, for as long as it counts.
CREATE TABLE conductor_limits (
  scope text PRIMARY KEY,
  max_running int,
  starts int,
  per interval
);
CREATE TABLE conductor_starts (
  scope text NOT NULL,
  at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_starts_idx ON conductor_starts (scope, at);

-- What blocked tasks need: of the edges of each need at least so many met; `open` are those that have not ended.
CREATE TABLE conductor_needs (
  downstream uuid NOT NULL,
  need int NOT NULL,
  at_least int NOT NULL,
  met int NOT NULL DEFAULT 0,
  open int NOT NULL,
  PRIMARY KEY (downstream, need)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

-- The tasks they need, with the names these were given, how they ended, and the ends that meet the need.
CREATE TABLE conductor_edges (
  downstream uuid NOT NULL,
  need int NOT NULL,
  upstream uuid NOT NULL,
  name text NOT NULL,
  met_by text[] NOT NULL,
  ended text,
  PRIMARY KEY (downstream, need, upstream)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_edges_upstream_idx ON conductor_edges (upstream) WHERE ended IS NULL;

-- Blocked tasks whose fate is known since `cause` ended.
CREATE TABLE conductor_settled (
  task uuid PRIMARY KEY,
  cause uuid NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

-- What is due for a task by time: its run is over time (run), it may be queued (wake), it has been in the queue too long
-- (queue), it expires if it still waits (expire), or waits for a task that nobody has submitted (forward).
CREATE TABLE conductor_timers (
  task uuid NOT NULL,
  kind text NOT NULL,
  fence int NOT NULL,
  due timestamptz NOT NULL,
  PRIMARY KEY (task, kind)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_timers_due_idx ON conductor_timers (due);

-- Workflows not yet finished, and their tasks; and tasks not yet ended that have children. `last`: the last task that ended. `complete`: all have. `failed`: the task
-- for which one that fails fast is to be cancelled. `open`: further tasks are to come.
CREATE TABLE conductor_workflows (
  workflow uuid PRIMARY KEY,
  last uuid,
  complete boolean NOT NULL DEFAULT false,
  fail_fast boolean NOT NULL,
  failed uuid,
  open boolean NOT NULL
);
CREATE INDEX conductor_workflows_complete_idx ON conductor_workflows (workflow) WHERE complete;
CREATE INDEX conductor_workflows_failed_idx ON conductor_workflows (workflow) WHERE failed IS NOT NULL;
CREATE TABLE conductor_members (
  task uuid PRIMARY KEY,
  workflow uuid NOT NULL,
  ended text
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_members_workflow_idx ON conductor_members (workflow);
CREATE INDEX conductor_members_open_idx ON conductor_members (workflow) WHERE ended IS NULL;

-- Tasks still to be cancelled because their workflow was.
CREATE TABLE conductor_cancels (
  task uuid PRIMARY KEY,
  workflow uuid NOT NULL
);
CREATE INDEX conductor_cancels_workflow_idx ON conductor_cancels (workflow, task);

-- Tasks that become children, which are their members as a workflow's tasks are its; the first `next` are dealt with.
CREATE TABLE conductor_spreads (
  task uuid PRIMARY KEY,
  next int NOT NULL DEFAULT 0,
  children int NOT NULL
);

-- The last registration of each worker. `since`: lease clock when it was read. `draining`: it is given nothing.
CREATE TABLE conductor_workers (
  worker_id text PRIMARY KEY,
  stream uuid NOT NULL,
  generation int NOT NULL,
  pool text NOT NULL,
  slots int NOT NULL,
  executors text[] NOT NULL,
  labels jsonb NOT NULL DEFAULT '{}',
  since double precision NOT NULL,
  lost boolean NOT NULL DEFAULT false,
  draining boolean NOT NULL DEFAULT false,
  granted_at timestamptz NOT NULL DEFAULT 'epoch'
);

GRANT SELECT, INSERT, UPDATE, DELETE ON conductor_queue, conductor_lanes, conductor_limits, conductor_starts, conductor_needs,
  conductor_edges, conductor_settled, conductor_timers,
  conductor_workflows, conductor_members, conductor_cancels, conductor_spreads, conductor_workers TO tally_app;
GRANT SELECT ON conductor_queue, conductor_lanes, conductor_limits, conductor_starts, conductor_needs,
  conductor_edges, conductor_settled, conductor_timers,
  conductor_workflows, conductor_members, conductor_cancels, conductor_spreads, conductor_workers TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE conductor_queue, conductor_lanes, conductor_limits, conductor_starts, conductor_needs, conductor_edges, conductor_settled, conductor_timers, conductor_workflows,
  conductor_members, conductor_cancels, conductor_spreads, conductor_workers;
RESET ROLE;
