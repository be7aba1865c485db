-- Numbers and message ids are compared byte by byte: a language's rules of order mean nothing for
-- digits and cost each step down an index a call into the system's library. Indexes are built anew,
-- tables stay as they are.
ALTER TABLE senders ALTER COLUMN phone TYPE text COLLATE "C";
ALTER TABLE sessions ALTER COLUMN phone TYPE text COLLATE "C";
ALTER TABLE campaigns ALTER COLUMN sender TYPE text COLLATE "C";
ALTER TABLE receipts ALTER COLUMN sender TYPE text COLLATE "C",
    ALTER COLUMN message_id TYPE text COLLATE "C";
ALTER TABLE outbox ALTER COLUMN sender TYPE text COLLATE "C";
-- The planner's knowledge of these columns went with their old order. Not of an empty table: it would
-- be believed to stay empty.
DO $$
DECLARE
    relation text;
    filled boolean;
BEGIN
    FOREACH relation IN ARRAY ARRAY['senders', 'sessions', 'campaigns', 'receipts', 'outbox'] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', relation) INTO filled;
        IF filled THEN
            EXECUTE format('ANALYZE %I', relation);
        END IF;
    END LOOP;
END $$;
