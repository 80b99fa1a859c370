-- migrate:up
SET ROLE tally_owner;

-- All that a batch of commands or reports changes, in one statement and therefore one transaction, in the order in
-- which every writer takes its locks: outcomes, names, leases, the log. The positions of the events.
-- Raises serialization_failure, with nothing stored, if something that the batch was decided on has changed since.
CREATE FUNCTION store_batch(
  command_ids uuid[], principals text[], digests bytea[], types text[], replies text[], changed uuid[], heads bigint[],
  name_namespaces text[], name_kinds text[], name_words text[], name_streams uuid[], name_digests bytea[],
  closed_runs uuid[], closed_fences int[],
  streams uuid[], versions bigint[], topics text[], states bytea[], event_ids uuid[], namespaces text[],
  correlations text[], causations text[], actors text[], traceparents text[], tracestates text[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  stored int;
BEGIN
  INSERT INTO inbox (command_id, principal, digest, type, reply, stream, version)
  SELECT * FROM unnest(command_ids, principals, digests, types, replies, changed, heads) ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS stored = ROW_COUNT;
  IF stored < cardinality(command_ids) THEN
    RAISE EXCEPTION 'a command has an outcome already' USING ERRCODE = 'serialization_failure';
  END IF;
  IF cardinality(name_words) > 0 THEN
    -- A name that is promised is taken by the task of its stream. Promised again it is written too, for the lock: who
    -- decided on it as promised, and who takes it, must not both be stored.
    INSERT INTO names AS n (namespace, kind, name, stream, digest)
    SELECT * FROM unnest(name_namespaces, name_kinds, name_words, name_streams, name_digests)
    ON CONFLICT (namespace, kind, name) DO UPDATE SET digest = excluded.digest
      WHERE n.digest = '' AND n.stream = excluded.stream;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored < cardinality(name_words) THEN
      RAISE EXCEPTION 'a name is taken' USING ERRCODE = 'serialization_failure';
    END IF;
  END IF;
  IF cardinality(closed_runs) > 0 THEN
    -- An array is made once. As a join it is made again for each lease, when the statistics say that there are none.
    DELETE FROM leases WHERE run_id = ANY (ARRAY(
      SELECT l.run_id FROM leases l JOIN unnest(closed_runs, closed_fences) AS c(run_id, fence) USING (run_id, fence)
      ORDER BY l.run_id FOR UPDATE OF l));
  END IF;
  IF cardinality(streams) = 0 THEN
    RETURN '{}';
  END IF;
  RETURN append_all(streams, versions, topics, states, event_ids, namespaces, correlations, causations, actors,
                    traceparents, tracestates);
END $$;

RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP FUNCTION store_batch;
RESET ROLE;
