-- migrate:up
SET ROLE tally_owner;

-- How many bytes lie without a gap from the begin on.
CREATE FUNCTION without_gap(stored int8multirange) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(max(upper(r)) FILTER (WHERE lower(r) = 0), 0) FROM unnest(stored) r
$$;

-- What the log keeper has stored of each stream of a run. The bytes themselves are in files; order and repeats of
-- chunks make no difference to `stored`. `length`: the end that the stream's last chunk named.
CREATE TABLE log_ends (
  run_id uuid NOT NULL,
  stream text NOT NULL CHECK (stream IN ('stdout', 'stderr')),
  namespace text NOT NULL,
  stored int8multirange NOT NULL,
  length bigint,
  bytes bigint NOT NULL GENERATED ALWAYS AS (without_gap(stored)) STORED,
  last boolean NOT NULL GENERATED ALWAYS AS (coalesce(without_gap(stored) = length, false)) STORED,
  PRIMARY KEY (run_id, stream)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON log_ends TO tally_app;
GRANT SELECT ON log_ends TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE log_ends;
DROP FUNCTION without_gap;
RESET ROLE;
