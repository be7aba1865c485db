-- What became of each message, provable: the ids that messages carry, what WhatsApp reported of
-- them, the story of each message, and the health of each number.
-- Lock order, everywhere: lanes, sessions, senders, campaigns, receipts, messages, workers; rows of
-- one table in key order.

-- What WhatsApp reported of one message id of a number. The claim makes the row where we choose
-- the id, the conclusion where the worker does, and a report that came before either makes it
-- without a message; whoever comes second completes it. No index on `messages` is needed.
CREATE TABLE receipts (
    sender      text NOT NULL,
    message_id  text NOT NULL,
    campaign_id uuid,                     -- null: reported before we knew whose it is
    ordinal     integer,
    ack         smallint CHECK (ack BETWEEN -1 AND 4), -- null: nothing yet; 0: the worker made it
    ack_at      timestamptz,
    asks        smallint NOT NULL DEFAULT 0, -- questions to the worker that told nothing
    ask_at      timestamptz,              -- since when the worker may be asked; null: no need
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sender, message_id)
) WITH (fillfactor = 70);
CREATE INDEX receipts_to_ask ON receipts (ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX receipts_of_nobody ON receipts (created_at) WHERE campaign_id IS NULL;
CREATE INDEX receipts_old ON receipts USING brin (created_at);

-- One transition of a message. `answer` is the class of what caused it.
CREATE TYPE message_step AS (
    at        timestamptz,
    status    smallint,
    worker_id uuid,
    replica   uuid,
    epoch     bigint,
    answer    text
);

-- In the message's own row: its transitions cost no row and no index entry of their own.
ALTER TABLE messages ADD COLUMN steps message_step[];

-- Keeps the first and the latest of a message that is tried for days.
CREATE FUNCTION add_step(steps message_step[], at timestamptz, status integer, worker_id uuid,
    replica uuid, epoch bigint, answer text) RETURNS message_step[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN cardinality(steps) >= 40 THEN steps[:9] || steps[11:] ELSE steps END
        || ROW(at, status, worker_id, replica, epoch, answer)::message_step;

ALTER TABLE senders
    ADD COLUMN rest_code     text,                       -- why it rests, as a stable word
    ADD COLUMN restrictions  integer NOT NULL DEFAULT 0, -- by WhatsApp, since the last ack after one
    ADD COLUMN unacked       integer NOT NULL DEFAULT 0, -- accepted by workers since the last ack
    ADD COLUMN unacked_since timestamptz,                -- when the first of those was
    ADD COLUMN last_ack_at   timestamptz;                -- null: no ack ever came
