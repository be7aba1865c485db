-- Cancelling writes a campaign and none of its messages that were not begun: the campaign tells for
-- all of them that they are CANCELLED, since when, and from which ordinal on; its cursor stands
-- behind the last. What was cancelled before this says so in each message's row, and stays as it is.
ALTER TABLE campaigns
    ADD COLUMN cancelled_at   timestamptz, -- for the first time
    ADD COLUMN cancelled_from integer;     -- no message from here on was begun then, or ever will be
