-- migrate:up
SET ROLE tally_owner;

-- Results that may be taken, as of the conductor's position: under a key of namespace and work, what `task` left when it
-- ended, until a time. The result itself is in the log.
CREATE TABLE conductor_cache (
  key bytea PRIMARY KEY,
  task uuid NOT NULL,
  ended timestamptz NOT NULL,
  until timestamptz NOT NULL
);

-- Tasks that are to take what `first` left, each with the place in the queue that it has left for that.
CREATE TABLE conductor_hits (
  task uuid PRIMARY KEY,
  first uuid NOT NULL,
  lane uuid NOT NULL,
  crowd text,
  key timestamptz NOT NULL,
  position bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

GRANT SELECT, INSERT, UPDATE, DELETE ON conductor_cache, conductor_hits TO tally_app;
GRANT SELECT ON conductor_cache, conductor_hits TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE conductor_cache, conductor_hits;
RESET ROLE;
