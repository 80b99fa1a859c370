-- migrate:up
SET ROLE tally_owner;

-- What beats touch: soft state on the lease clock, which advances only while beats are seen to come through.
CREATE TABLE lease_clock (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  seconds double precision NOT NULL DEFAULT 0,
  advanced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  probe bigint NOT NULL DEFAULT 0,
  probe_sent_at timestamptz,
  answered bigint NOT NULL DEFAULT 0,
  answered_at timestamptz
);
INSERT INTO lease_clock DEFAULT VALUES;

-- Open leases only. Holder, fence and generation repeat the log; `until` (lease clock) and `accepted` live here alone.
-- `lane`: which limits count it.
CREATE TABLE leases (
  run_id uuid PRIMARY KEY,
  fence int NOT NULL,
  task uuid NOT NULL,
  worker_id text NOT NULL,
  generation int NOT NULL,
  accepted boolean NOT NULL DEFAULT false,
  until double precision NOT NULL,
  lane uuid
);
CREATE INDEX leases_until_idx ON leases (until);

-- The last beat of each worker. `heard`: lease clock at its receipt. `answered`: the last beat that got its sync.
CREATE TABLE worker_beats (
  worker_id text PRIMARY KEY,
  generation int NOT NULL,
  beat bigint NOT NULL,
  received_at timestamptz NOT NULL,
  heard double precision NOT NULL,
  runs jsonb NOT NULL DEFAULT '[]',
  reports uuid[] NOT NULL DEFAULT '{}',
  cpu real,
  memory real,
  disk real,
  answered bigint NOT NULL DEFAULT -1
);

GRANT SELECT, INSERT, UPDATE, DELETE ON leases, worker_beats TO tally_app;
GRANT SELECT, UPDATE ON lease_clock TO tally_app;
GRANT SELECT ON leases, worker_beats, lease_clock TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE leases, worker_beats, lease_clock;
RESET ROLE;
