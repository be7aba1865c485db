-- Numbers and message ids are compared byte by byte: a language's rules of order mean nothing for
-- digits and cost each step down an index a call into the system's library. Indexes are built anew,
-- tables stay as they are.
ALTER TABLE senders ALTER COLUMN phone TYPE text COLLATE "C";
ALTER TABLE sessions ALTER COLUMN phone TYPE text COLLATE "C";
ALTER TABLE campaigns ALTER COLUMN sender TYPE text COLLATE "C";
ALTER TABLE receipts ALTER COLUMN sender TYPE text COLLATE "C",
    ALTER COLUMN message_id TYPE text COLLATE "C";
ALTER TABLE outbox ALTER COLUMN sender TYPE text COLLATE "C";
-- The planner's knowledge of these columns went with their old order.
ANALYZE senders;
ANALYZE sessions;
ANALYZE campaigns;
ANALYZE receipts;
ANALYZE outbox;
