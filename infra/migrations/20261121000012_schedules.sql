-- migrate:up
SET ROLE tally_owner;

-- Schedules, as of the conductor's position: all up to `done_to` is dealt with; at `due` there is something to look at,
-- perhaps nothing to do. Without it nothing is due unless the schedule changes.
CREATE TABLE conductor_schedules (
  schedule uuid PRIMARY KEY,
  done_to timestamptz NOT NULL DEFAULT 'epoch',
  due timestamptz
);
CREATE INDEX conductor_schedules_due_idx ON conductor_schedules (due) WHERE due IS NOT NULL;

-- Their tasks that have not ended.
CREATE TABLE conductor_schedule_tasks (
  task uuid PRIMARY KEY,
  schedule uuid NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);
CREATE INDEX conductor_schedule_tasks_schedule_idx ON conductor_schedule_tasks (schedule);

GRANT SELECT, INSERT, UPDATE, DELETE ON conductor_schedules, conductor_schedule_tasks TO tally_app;
GRANT SELECT ON conductor_schedules, conductor_schedule_tasks TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE conductor_schedules, conductor_schedule_tasks;
RESET ROLE;
