-- migrate:up

CREATE SCHEMA rebuild AUTHORIZATION tally_owner;
GRANT USAGE ON SCHEMA rebuild TO tally_app, tally_read;
SET ROLE tally_owner;

-- Whether an id was made more than an hour before its task was submitted: a child's is of its parent's time, one that
-- a forward reference promised is of the time of the promise. Of such functions alone as PostgreSQL inlines here: each
-- row that is written asks it.
CREATE FUNCTION id_is_old(id uuid, submitted timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN id < (lpad(to_hex((extract(epoch FROM submitted - timestamptz '1970-01-01 01:00:00+00') * 1000)::bigint), 12, '0')
  || repeat('0', 20))::uuid;

-- Views: rows that the projector folds from events, and that a rebuild folds anew. No index has a name of its own, so
-- that a rebuilt table brings its indexes with it under the same names.
CREATE TABLE tasks (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  task_id text NOT NULL,
  name text NOT NULL,
  status text NOT NULL,
  priority int NOT NULL,
  pool text NOT NULL,
  executor text NOT NULL,
  task_type text,
  image text,
  labels jsonb NOT NULL,
  workflow uuid,
  workflow_id text,
  depends_on text NOT NULL,
  spec text NOT NULL,
  trace_id text,
  correlation_id text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  queued_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  worker_id text,
  run_id uuid,
  run int NOT NULL,
  exit_code bigint,
  oom_killed boolean NOT NULL,
  reason text,
  result text,
  cancelled_by text,
  cancel_reason text,
  because text,
  verified boolean,
  waits_until timestamptz,
  retry_of uuid,
  paused_by text,
  pause_reason text,
  detail text,
  artifacts text,
  forked_from uuid,
  cached_from text,
  parent uuid,
  parent_id text,
  item_index int,
  children int
);
-- Ids sort by the time of submission, so an index that ends in the id is in that order.
CREATE INDEX ON tasks (namespace, id);
CREATE INDEX ON tasks (namespace, status, id);
CREATE INDEX ON tasks (namespace, name, id);
CREATE INDEX ON tasks (workflow, status) WHERE workflow IS NOT NULL;
CREATE INDEX ON tasks (parent, status) WHERE parent IS NOT NULL;
CREATE INDEX ON tasks (created_at) WHERE id_is_old(id, created_at);
CREATE INDEX ON tasks USING gin (labels jsonb_path_ops) WHERE labels <> '{}';

CREATE TABLE runs (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  task uuid NOT NULL,
  task_id text NOT NULL,
  number int NOT NULL,
  fence int NOT NULL,
  worker_id text NOT NULL,
  status text NOT NULL,
  leased_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  started_at timestamptz,
  ended_at timestamptz,
  container_id text,
  image_digest text,
  exit_code bigint,
  oom_killed boolean NOT NULL,
  signal text,
  reason text,
  error text,
  log_bytes bigint,
  log_sha256 text
) WITH (fillfactor = 70);
CREATE INDEX ON runs (task, number);

CREATE TABLE workflows (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  workflow_id text NOT NULL,
  status text NOT NULL,
  tasks int NOT NULL,
  on_failure text NOT NULL,
  nodes text NOT NULL,
  trace_id text,
  correlation_id text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  completed_at timestamptz,
  cancelled_by text,
  cancel_reason text,
  because text,
  retry_of uuid,
  open boolean NOT NULL
);
CREATE INDEX ON workflows (namespace, id);

CREATE TABLE workers (
  id uuid PRIMARY KEY,
  worker_id text NOT NULL,
  generation int NOT NULL,
  instance uuid NOT NULL,
  engine text NOT NULL,
  pool text NOT NULL,
  slots int NOT NULL,
  executors text NOT NULL,
  labels jsonb NOT NULL,
  software text NOT NULL,
  status text NOT NULL,
  registered_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  lost_at timestamptz,
  drained_by text,
  drain_reason text
);
CREATE INDEX ON workers (worker_id);

CREATE TABLE limits (
  id uuid PRIMARY KEY,
  scope text NOT NULL,
  namespace text NOT NULL,
  max_running int,
  starts int,
  per text,
  by text NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL
);

CREATE TABLE schedules (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  schedule_id text NOT NULL,
  status text NOT NULL,
  spec text NOT NULL,
  changed_by text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL
);
CREATE INDEX ON schedules (schedule_id, id);

CREATE TABLE fires (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  schedule uuid NOT NULL,
  schedule_id text NOT NULL,
  nominal timestamptz NOT NULL,
  status text NOT NULL,
  task uuid,
  reason text,
  detail text,
  last timestamptz,
  times bigint,
  by text,
  recorded_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL
);
CREATE INDEX ON fires (schedule, nominal);

CREATE TABLE task_types (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  namespace text NOT NULL,
  number bigint NOT NULL,
  definition text,
  by text NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON tasks, runs, workflows, workers, limits, schedules, fires, task_types TO tally_app;
GRANT SELECT ON tasks, runs, workflows, workers, limits, schedules, fires, task_types TO tally_read;

-- An empty table of the view's shape, in the schema `rebuild`; what an abandoned rebuild left is dropped.
CREATE FUNCTION begin_rebuild(view text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF view <> ALL (ARRAY['tasks', 'runs', 'workflows', 'workers', 'limits', 'schedules', 'fires', 'task_types']) THEN
    RAISE EXCEPTION 'no view is named %', view USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS rebuild.%I', view);
  EXECUTE format('CREATE TABLE rebuild.%I (LIKE public.%I INCLUDING ALL)%s', view, view,
    (SELECT ' WITH (' || array_to_string(c.reloptions, ', ') || ')' FROM pg_class c
     WHERE c.oid = format('public.%I', view)::regclass));
  EXECUTE format('GRANT SELECT, INSERT, UPDATE ON rebuild.%I TO tally_app', view);
  EXECUTE format('GRANT SELECT ON rebuild.%I TO tally_read', view);
END $$;

-- Put the rebuilt table in the place of the live one. The caller holds the projector's row.
CREATE FUNCTION finish_rebuild(view text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF view <> ALL (ARRAY['tasks', 'runs', 'workflows', 'workers', 'limits', 'schedules', 'fires', 'task_types']) THEN
    RAISE EXCEPTION 'no view is named %', view USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format('DROP TABLE public.%I', view);
  EXECUTE format('ALTER TABLE rebuild.%I SET SCHEMA public', view);
END $$;

CREATE FUNCTION drop_rebuild(view text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format('DROP TABLE IF EXISTS rebuild.%I', view);
END $$;

REVOKE EXECUTE ON FUNCTION begin_rebuild, finish_rebuild, drop_rebuild FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_rebuild, finish_rebuild, drop_rebuild TO tally_app;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP FUNCTION begin_rebuild, finish_rebuild, drop_rebuild;
DROP TABLE tasks, runs, workflows, workers, limits, schedules, fires, task_types;
DROP FUNCTION id_is_old;
RESET ROLE;
DROP SCHEMA rebuild CASCADE;
