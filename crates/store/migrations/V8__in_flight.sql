-- That a message is on its way is told by its number's row alone, of which at most one is: a claim
-- writes neither the message nor its campaign, which are written once, when it is known what became
-- of it. Until then the message's own row says PENDING, and whoever reads it says SENDING instead.
-- Programs of before this must have ended: they look for the message's own row to say it. One that
-- has not fails at the names that are gone, instead of moving what is on its way.
ALTER TABLE senders
    ADD COLUMN in_flight_replica    uuid,   -- who claimed it
    ADD COLUMN in_flight_epoch      bigint, -- its lane's, then
    ADD COLUMN in_flight_message_id text,   -- the WhatsApp id that it carries, where we chose it
    ADD COLUMN in_flight_reported   boolean NOT NULL DEFAULT false; -- WhatsApp said something of it

-- The claim of what is on a number's way, as a step of the message's story.
CREATE FUNCTION flight_step(d senders) RETURNS message_step
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ROW(d.in_flight_at, 1::smallint, d.in_flight_worker, d.in_flight_replica,
        d.in_flight_epoch, NULL)::message_step;

ALTER FUNCTION add_step RENAME TO add_one_step;

-- Keeps the first and the latest, as add_one_step does.
CREATE FUNCTION add_two_steps(steps message_step[], one message_step, other message_step)
    RETURNS message_step[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN cardinality(steps) >= 39 THEN steps[:8] || steps[11:] ELSE steps END
        || ARRAY[one, other];

-- What is on its way now: the claim moves from the message's row to the number's. By key, or
-- every month would be read for a few messages.
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_seqscan = off;
UPDATE senders d SET in_flight_message_id = m.waha_message_id,
    in_flight_replica = (m.steps[cardinality(m.steps)]).replica,
    in_flight_epoch = (m.steps[cardinality(m.steps)]).epoch, in_flight_reported = true
FROM messages m
WHERE m.campaign_id = d.in_flight_campaign AND m.ordinal = d.in_flight_ordinal;
UPDATE messages m SET status = 0, attempts = m.attempts - 1,
    steps = m.steps[:cardinality(m.steps) - 1]
FROM senders d
WHERE m.campaign_id = d.in_flight_campaign AND m.ordinal = d.in_flight_ordinal AND m.status = 1;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_seqscan;

-- Takes the checks that name it along.
ALTER TABLE campaigns DROP COLUMN sending;
ALTER TABLE campaigns
    ADD CONSTRAINT campaigns_counters CHECK (sent >= 0 AND delivered >= 0 AND read >= 0
        AND failed >= 0 AND cancelled >= 0 AND suppressed >= 0 AND unknown >= 0
        AND sent + delivered + read + failed + cancelled + suppressed + unknown <= total),
    ADD CONSTRAINT campaigns_purged_after_end
        CHECK (messages_purged_at IS NULL OR completed_at IS NOT NULL);
