-- migrate:up
SET ROLE tally_owner;

-- The notifier's ledger of effects: whom to tell of which event, and how far that has come.
CREATE TABLE notifications (
  event_id uuid NOT NULL,
  channel text NOT NULL,
  stream uuid NOT NULL,
  version bigint NOT NULL,
  status text NOT NULL DEFAULT 'due' CHECK (status IN ('due', 'sent', 'abandoned')),
  tries int NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL,
  problem text,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (event_id, channel)
);
CREATE INDEX notifications_due_idx ON notifications (channel, next_at) WHERE status = 'due';

GRANT SELECT, INSERT, UPDATE ON notifications TO tally_app;
GRANT SELECT ON notifications TO tally_read;
RESET ROLE;

-- migrate:down
SET ROLE tally_owner;
DROP TABLE notifications;
RESET ROLE;
