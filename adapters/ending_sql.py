"""The statement by which the ends of tasks reach what waits for them: all of a page at once."""

# An edge of a task that ended itself is only deleted: a row may be changed once in a statement. A statement does not
# see what it changes itself: conductor_needs is read as it was, `short` counts its rows that were not met;
# conductor_members too. The cause is one of the ends that are noted here: of the first need that is lost one that
# does not meet it, else one that met its need. Nothing is joined that one end may make thousands of, and the edges go
# through arrays: whatever the statistics say, the planner takes them for few, and looks for their needs in the index.
END_TASKS = """
WITH over AS MATERIALIZED (
    SELECT * FROM unnest(%b::uuid[], %b::text[]) WITH ORDINALITY AS over (task, ended, number)),
  queue AS (DELETE FROM conductor_queue WHERE task = ANY(ARRAY(SELECT task FROM over))),
  timers AS (DELETE FROM conductor_timers WHERE task = ANY(ARRAY(SELECT task FROM over))),
  settled AS (DELETE FROM conductor_settled WHERE task = ANY(ARRAY(SELECT task FROM over))),
  cancels AS (DELETE FROM conductor_cancels WHERE task = ANY(ARRAY(SELECT task FROM over))),
  fired AS (DELETE FROM conductor_schedule_tasks WHERE task = ANY(ARRAY(SELECT task FROM over))),
  own AS (DELETE FROM conductor_edges WHERE downstream = ANY(ARRAY(SELECT task FROM over))),
  own_needs AS (DELETE FROM conductor_needs WHERE downstream = ANY(ARRAY(SELECT task FROM over))),
  edges AS (
    UPDATE conductor_edges SET ended = over.ended FROM over
    WHERE upstream = over.task AND conductor_edges.ended IS NULL AND downstream NOT IN (SELECT task FROM over)
    RETURNING downstream, upstream, need, over.ended = ANY (met_by) AS met),
  members AS (
    UPDATE conductor_members m SET ended = over.ended FROM over WHERE m.task = over.task
    RETURNING workflow, over.task, over.number, over.ended IN ('failed', 'quarantined') AS failed),
  touched AS MATERIALIZED (
    SELECT workflow, (array_agg(task ORDER BY number DESC))[1] AS last,
      (array_agg(task ORDER BY task) FILTER (WHERE failed))[1] AS failed
    FROM members GROUP BY workflow),
  workflows AS (
    UPDATE conductor_workflows w SET last = touched.last, complete = NOT open AND NOT EXISTS (
        SELECT FROM conductor_members m
        WHERE m.workflow = w.workflow AND m.ended IS NULL AND m.task NOT IN (SELECT task FROM over)),
      failed = CASE WHEN fail_fast THEN coalesce(w.failed, touched.failed) END
    FROM touched WHERE w.workflow = touched.workflow),
  counted AS MATERIALIZED (
    SELECT downstream, need, count(*) AS ended, count(*) FILTER (WHERE met) AS met,
      (array_agg(upstream ORDER BY upstream) FILTER (WHERE met))[1] AS meets,
      (array_agg(upstream ORDER BY upstream) FILTER (WHERE NOT met))[1] AS fails
    FROM (
        SELECT array_agg(downstream) AS downs, array_agg(upstream) AS ups, array_agg(need) AS needs,
          array_agg(met) AS mets
        FROM edges) AS found,
      unnest(downs, ups, needs, mets) AS edge (downstream, upstream, need, met)
    GROUP BY 1, 2),
  needs AS (
    UPDATE conductor_needs n SET open = n.open - c.ended, met = n.met + c.met FROM counted c
    WHERE n.downstream = c.downstream AND n.need = c.need
    RETURNING n.downstream, n.need, c.meets, c.fails, n.met >= n.at_least AS met,
      n.met - c.met < n.at_least AS was_short, n.met + n.open < n.at_least AS lost),
  standing AS (
    SELECT downstream, bool_and(met) AS met, bool_or(lost) AS lost, count(*) FILTER (WHERE was_short) AS short,
      (array_agg(fails ORDER BY need) FILTER (WHERE lost AND fails IS NOT NULL))[1] AS fails,
      (array_agg(meets ORDER BY meets) FILTER (WHERE meets IS NOT NULL))[1] AS meets
    FROM needs GROUP BY downstream)
INSERT INTO conductor_settled (task, cause)
SELECT downstream, CASE WHEN lost THEN fails ELSE meets END FROM standing
WHERE (lost AND fails IS NOT NULL) OR (NOT lost AND met AND meets IS NOT NULL AND short = (
  SELECT count(*) FROM conductor_needs n WHERE n.downstream = standing.downstream AND n.met < n.at_least))
ON CONFLICT DO NOTHING
"""
