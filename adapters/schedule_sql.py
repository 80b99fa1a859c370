"""The statements of the conductor's rows of schedules."""

LOOK_AT = """
INSERT INTO conductor_schedules (schedule, due) SELECT * FROM unnest(%b::uuid[], %b::timestamptz[])
ON CONFLICT (schedule) DO UPDATE SET due = excluded.due
"""
FORGET = "DELETE FROM conductor_schedules WHERE schedule = ANY(%b::uuid[])"
PASS = """
UPDATE conductor_schedules s SET done_to = greatest(s.done_to, p.done_to)
FROM unnest(%b::uuid[], %b::timestamptz[]) AS p (schedule, done_to) WHERE s.schedule = p.schedule
"""
REST = """
UPDATE conductor_schedules s SET done_to = greatest(s.done_to, r.done_to), due = r.due
FROM unnest(%b::uuid[], %b::timestamptz[], %b::timestamptz[]) AS r (schedule, done_to, due)
WHERE s.schedule = r.schedule
"""
OPEN_TASKS = """
INSERT INTO conductor_schedule_tasks (task, schedule) SELECT * FROM unnest(%b::uuid[], %b::uuid[])
ON CONFLICT DO NOTHING
"""
