"""A page of the log in SQL."""

from adapters.event_log import COLUMNS
from domain.ports.log import PAGE_BYTES

# The running total counts what precedes an event, so that one which is larger than a page still comes. It reads the
# sizes alone: what is beyond the page is never fetched from where PostgreSQL keeps large values.
PAGE = f"""
SELECT {COLUMNS} FROM (
  SELECT {COLUMNS}, sum(octet_length(state)) OVER (ORDER BY notification_id ROWS UNBOUNDED PRECEDING)
    - octet_length(state) AS before
  FROM (SELECT {COLUMNS} FROM events WHERE notification_id > %b ORDER BY notification_id LIMIT %b) AS few
) AS weighed WHERE before < {PAGE_BYTES} ORDER BY notification_id
""".encode()
"""The events after a position, at most so many, and no more once they say PAGE_BYTES."""
