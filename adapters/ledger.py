"""The notifier's ledger in PostgreSQL: table `notifications`, changed in the notifier's own transactions."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from adapters.event_log import COLUMNS, recorded
from adapters.seat import PgTurn
from domain.notifying import Notification, Settled

STRANGERS = 100

_NAMED = """
SELECT originator_id, ARRAY(SELECT jsonb_array_elements_text(spec -> 'notify'))
FROM (SELECT originator_id, convert_from(state, 'UTF8')::jsonb -> 'spec' AS spec
      FROM events WHERE originator_id = ANY(%b) AND originator_version = 1) AS submitted
WHERE spec -> 'notify' <> '[]'
"""
_ADD = """
INSERT INTO notifications (event_id, channel, stream, version, next_at, changed_at)
SELECT *, %b, %b FROM unnest(%b::uuid[], %b::text[], %b::uuid[], %b::bigint[])
ON CONFLICT DO NOTHING
"""
_SETTLE = """
UPDATE notifications AS n
SET status = u.status, next_at = coalesce(u.next_at, n.next_at), problem = u.problem, tries = n.tries + 1,
    changed_at = %b
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[], %b::text[])
  AS u(event_id, channel, status, next_at, problem)
WHERE (n.event_id, n.channel) = (u.event_id, u.channel) AND n.status = 'due'
"""
_DUE = f"""
WITH but AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::text[]) AS b(event_id, channel)),
taken AS (
  SELECT n.* FROM unnest($4::text[], $5::bigint[]) AS r(channel, room)
  CROSS JOIN LATERAL (
    SELECT n.channel, n.tries, n.stream, n.version, n.next_at FROM notifications AS n
    WHERE n.channel = r.channel AND n.status = 'due' AND n.next_at <= $3
      AND (n.event_id, n.channel) NOT IN (SELECT * FROM but)
    ORDER BY n.next_at LIMIT r.room
  ) AS n
  UNION ALL
  (SELECT n.channel, n.tries, n.stream, n.version, n.next_at FROM notifications AS n
   WHERE n.status = 'due' AND n.channel <> ALL ($4::text[])
     AND (n.event_id, n.channel) NOT IN (SELECT * FROM but)
   LIMIT {STRANGERS})
)
SELECT channel, tries, {COLUMNS}
FROM taken JOIN events ON (originator_id, originator_version) = (stream, version)
ORDER BY next_at
""".encode()


class NotifierPgTurn(PgTurn):
    """A turn of the notifier."""

    async def channels_named(self, streams: Collection[UUID]) -> dict[UUID, Sequence[str]]:
        """The channels that the specs of these tasks name; a task that names none is left out."""
        if not streams:
            return {}
        return dict(await self.pipeline.rows(_NAMED, (list(streams),)))

    async def add(self, notifications: Sequence[Notification]) -> None:
        """Make these due now. One that is there already stays as it is."""
        if not notifications:
            return
        columns = (
            [one.event.event_id for one in notifications],
            [one.channel for one in notifications],
            [one.event.stream for one in notifications],
            [one.event.version for one in notifications],
        )
        self.pipeline.send(_ADD, (await self.now(), await self.now(), *columns))

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Note each try: due again at `again_at`, or never."""
        if not settled:
            return
        columns = (
            [one.notification.event.event_id for one in settled],
            [one.notification.channel for one in settled],
            [_status(one) for one in settled],
            [one.again_at for one in settled],
            [one.problem for one in settled],
        )
        self.pipeline.send(_SETTLE, (await self.now(), *columns))

    async def due(self, room: Mapping[str, int], but: Collection[tuple[UUID, str]]) -> Sequence[Notification]:
        """What is to be sent now, at most `room[channel]` a channel, those due longest first."""
        ids, channels = [event_id for event_id, _ in but], [channel for _, channel in but]
        given = (ids, channels, await self.now(), list(room), list(room.values()))
        rows = await self.pipeline.rows(_DUE, given)
        return [Notification(recorded(row[2:]), row[0], row[1]) for row in rows]


def _status(settled: Settled) -> str:
    if settled.again_at is not None:
        return "due"
    return "sent" if settled.problem is None else "abandoned"
