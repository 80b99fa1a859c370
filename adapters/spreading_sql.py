"""The statements of the rows of tasks that become children."""

ADD = """
INSERT INTO conductor_spreads (task, children) SELECT * FROM unnest(%b::uuid[], %b::int[]) ON CONFLICT DO NOTHING
"""
ON = """
UPDATE conductor_spreads s SET next = d.next FROM unnest(%b::uuid[], %b::int[]) AS d (task, next) WHERE s.task = d.task
"""
OVER = "DELETE FROM conductor_spreads WHERE task = ANY(%b::uuid[])"
FORGET_MEMBERS = "DELETE FROM conductor_members WHERE task = ANY(%b::uuid[])"
