-- Messages by months. A campaign's id is a UUIDv7, which begins with its time, so a range of ids is
-- a range of time: a month of messages is a table of its own, and forgetting one is dropping it.
-- Read by store::partitions and store::retention.

-- The least id of a moment, and the moment of an id.
CREATE FUNCTION first_id_at(at timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (lpad(to_hex(floor(EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid;
CREATE FUNCTION time_of_id(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0);

ALTER TABLE messages RENAME TO messages_past;
ALTER INDEX messages_pkey RENAME TO messages_past_pkey;

-- The ledger. No index beside the key: one that touches status would cost every update.
CREATE TABLE messages (
    campaign_id     uuid NOT NULL,
    ordinal         integer NOT NULL,
    recipient       text NOT NULL,
    status          smallint NOT NULL DEFAULT 0, -- models::message::MessageStatus::code
    attempts        smallint NOT NULL DEFAULT 0,
    variables       jsonb,                       -- the recipient's own; an object of strings
    waha_message_id text,
    error_code      text,
    error           text,
    sent_at         timestamptz,
    delivered_at    timestamptz,
    read_at         timestamptz,
    steps           message_step[],
    PRIMARY KEY (campaign_id, ordinal)
) PARTITION BY RANGE (campaign_id);

-- Whose id is of no month that there is a table for: a clock that is far off. No insert ever fails.
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

-- What a table of messages is tuned to; a partitioned table hands none of it down. Figures:
-- docs/PERFORMANCE.md.
CREATE PROCEDURE tune_messages(relation regclass)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s SET (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)',
        relation);
END $$;

-- The tables, by the ids that they hold.
CREATE VIEW message_partitions AS
    SELECT name, COALESCE(since_id, '00000000-0000-0000-0000-000000000000') AS since_id, until_id,
        time_of_id(since_id) AS since, time_of_id(until_id) AS until
    FROM (
        SELECT c.oid::regclass::text AS name,
            (regexp_match(bound, 'FROM \(''([^'']+)''\)'))[1]::uuid AS since_id,
            (regexp_match(bound, 'TO \(''([^'']+)''\)'))[1]::uuid AS until_id
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        CROSS JOIN pg_get_expr(c.relpartbound, c.oid) AS bound
        WHERE i.inhparent = 'messages'::regclass
    ) p
    WHERE until_id IS NOT NULL;

-- Makes the table of a UTC month, empty and apart, and puts it in its place: that blocks nobody but
-- whoever is at the default one. False, and nothing done, when ids of that month are in the default
-- one already: they stay there, and the month with them.
CREATE FUNCTION make_messages_partition(month date) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    name text := 'messages_' || to_char(month, 'YYYY_MM');
    since uuid := first_id_at(month::timestamp AT TIME ZONE 'UTC');
    until uuid := first_id_at((month + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF EXISTS (SELECT FROM messages_default WHERE campaign_id >= since AND campaign_id < until) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING ALL)', name);
    CALL tune_messages(name::regclass);
    EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, since, until);
    RETURN true;
END $$;

-- What is there already is not copied: it becomes the table of everything up to the end of this
-- month, after one reading that proves it. Ids that lie beyond, of a clock that was ahead, move.
DO $$
DECLARE
    this_month date := date_trunc('month', now() AT TIME ZONE 'UTC');
    next_month date := this_month + interval '1 month';
    until uuid := first_id_at(next_month::timestamp AT TIME ZONE 'UTC');
    month date := this_month;
BEGIN
    CALL tune_messages('messages_default');
    IF EXISTS (SELECT FROM messages_past) THEN
        WITH beyond AS (DELETE FROM messages_past WHERE campaign_id >= until RETURNING *)
        INSERT INTO messages_default SELECT * FROM beyond;
        EXECUTE format('ALTER TABLE messages_past ADD CONSTRAINT past
            CHECK (campaign_id < %L)', until);
        CALL tune_messages('messages_past');
        EXECUTE format('ALTER TABLE messages ATTACH PARTITION messages_past
            FOR VALUES FROM (MINVALUE) TO (%L)', until);
        ALTER TABLE messages_past DROP CONSTRAINT past;
        month := next_month;
    ELSE
        DROP TABLE messages_past;
    END IF;
    -- Nobody's message may fall between this migration and the first look of a scheduler.
    WHILE month <= next_month LOOP
        PERFORM make_messages_partition(month);
        month := month + interval '1 month';
    END LOOP;
END $$;

-- When a campaign's messages were deleted because their time was over; its totals stay. One that
-- has not ended is never without its messages.
ALTER TABLE campaigns ADD COLUMN messages_purged_at timestamptz,
    ADD CONSTRAINT campaigns_purged_after_end
        CHECK (messages_purged_at IS NULL OR completed_at IS NOT NULL AND sending = 0);

-- A fifth of a table that grows for years is too late to tidy it up.
ALTER TABLE campaigns SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000);
ALTER TABLE senders SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE receipts SET (autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Queues: nearly empty, whatever has passed through them.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE retries SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A block-range index never forgets the oldest row that a range once held: as soon as the room of
-- deleted receipts is used again, looking for old ones would read the whole table.
DROP INDEX receipts_old;
CREATE INDEX receipts_old ON receipts (created_at) WHERE campaign_id IS NOT NULL;
