-- migrate:up
SET ROLE tally_owner;

-- Whether a run printed more than was kept; null: not known (yet).
ALTER TABLE runs ADD COLUMN log_truncated boolean;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
ALTER TABLE runs DROP COLUMN log_truncated;
RESET ROLE;
