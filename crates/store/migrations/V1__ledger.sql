-- The whole schema of the first release. Nouns are singular ideas, tables their plurals; times are
-- timestamptz by the database's clock; delays are whole milliseconds.
-- Lock order, everywhere: lanes, sessions, senders, campaigns, messages; rows of one table in key order.

-- The global delays: one row. `version` grows with each change, so that lane owners see it in the
-- poll they make anyway.
CREATE TABLE settings (
    id                     smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    message_delay_ms       bigint NOT NULL CHECK (message_delay_ms >= 0),
    sender_switch_delay_ms bigint NOT NULL CHECK (sender_switch_delay_ms >= 0),
    campaign_delay_ms      bigint NOT NULL CHECK (campaign_delay_ms >= 0),
    version                bigint NOT NULL DEFAULT 0
);

-- A WAHA server. `placed` counts sessions that have a place here, `live` those that may run.
CREATE TABLE workers (
    id                 uuid PRIMARY KEY,
    url                text NOT NULL CONSTRAINT workers_url_key UNIQUE,
    name               text NOT NULL,
    api_key            text NOT NULL,
    capacity           integer NOT NULL CHECK (capacity >= 0),
    capacity_inherited boolean NOT NULL, -- follows MAX_SESSIONS_PER_WORKER
    max_live           integer NOT NULL CHECK (max_live >= 0),
    max_live_inherited boolean NOT NULL, -- follows MAX_LIVE_SESSIONS
    placed             integer NOT NULL DEFAULT 0 CHECK (placed >= 0),
    live               integer NOT NULL DEFAULT 0 CHECK (live >= 0),
    state              text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'cordoned', 'draining')),
    health             text NOT NULL DEFAULT 'unknown' CHECK (health IN ('unknown', 'up', 'down')),
    health_reason      text,             -- why it is down
    version            text,
    engine             text,
    tier               text,
    multi_session      boolean NOT NULL DEFAULT true, -- what it can do: WAHA contract, section 1
    media              boolean NOT NULL DEFAULT true,
    own_message_ids    boolean NOT NULL DEFAULT false,
    webhook_hmac       boolean NOT NULL DEFAULT true,
    uptime_ms          bigint,           -- at the last check; smaller than before means it restarted
    failures           integer NOT NULL DEFAULT 0, -- checks in a row that failed
    checked_at         timestamptz,
    check_at           timestamptz NOT NULL DEFAULT now(), -- when the next check is due
    created_at         timestamptz NOT NULL DEFAULT now(),
    -- An old Core takes one session whatever its capacity says.
    slots              integer GENERATED ALWAYS AS
                       (CASE WHEN multi_session THEN capacity ELSE LEAST(capacity, 1) END) STORED
);
-- Placement reads the first entry: the least loaded worker with room. Its cost does not depend on
-- how many workers there are.
CREATE INDEX workers_with_room ON workers ((placed::real / GREATEST(slots, 1)::real), id)
    WHERE state = 'active' AND health = 'up' AND placed < slots AND live < max_live;
CREATE INDEX workers_due ON workers (check_at);

-- The order in which one worker speaks; owned by one sender replica at a time.
CREATE TABLE lanes (
    worker_id     uuid PRIMARY KEY REFERENCES workers (id) ON DELETE CASCADE,
    owner         uuid,                        -- the replica; alive while its heartbeat is fresh
    epoch         bigint NOT NULL DEFAULT 0,   -- grows with each owner: the fence
    wake          bigint NOT NULL DEFAULT 0,   -- grows whenever there may be new work
    served        bigint NOT NULL DEFAULT 0,   -- the wake that the last owner had seen when it gave the lane back
    last_sent_at  timestamptz,                 -- answer to, or giving up on, the lane's last request
    resting_until timestamptz,                 -- back-off because the worker refuses
    rest_reason   text,
    call_at       timestamptz NOT NULL DEFAULT now(), -- when the sweep may publish a job for it again
    calls         integer NOT NULL DEFAULT 0          -- jobs the sweep has published in a row
);
CREATE INDEX lanes_wanting ON lanes (call_at) WHERE wake <> served;
CREATE INDEX lanes_owned ON lanes (owner) WHERE owner IS NOT NULL;

-- Running processes. One is alive while `seen_at` is fresh by this database's clock.
CREATE TABLE replicas (
    id         uuid PRIMARY KEY,
    service    text NOT NULL,
    name       text NOT NULL,
    retiring   boolean NOT NULL DEFAULT false, -- is ending: gives its lanes away, takes none
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- What pacing must remember of a number, also when its session is deleted and made again.
-- At most one message of a sender is on its way: the in_flight columns, null when there is none.
CREATE TABLE senders (
    phone                  text PRIMARY KEY,
    message_delay_ms       bigint CHECK (message_delay_ms >= 0),       -- null inherits the global one
    sender_switch_delay_ms bigint CHECK (sender_switch_delay_ms >= 0),
    campaign_delay_ms      bigint CHECK (campaign_delay_ms >= 0),
    last_sent_at           timestamptz,
    campaign_ended_at      timestamptz,
    sent_day               date,                       -- the UTC day that sent_today counts
    sent_today             integer NOT NULL DEFAULT 0,
    resting_until          timestamptz,                -- the number cannot send before
    rest_reason            text,
    rests                  integer NOT NULL DEFAULT 0, -- rests in a row, for the growing back-off
    in_flight_campaign     uuid,
    in_flight_ordinal      integer,
    in_flight_worker       uuid,
    in_flight_at           timestamptz
) WITH (fillfactor = 50);

-- No two placements have the same generation, also when a session is deleted and made again.
CREATE SEQUENCE session_generations AS integer;

-- One number's login. Placed means worker_id is set; queued means it is not.
CREATE TABLE sessions (
    phone       text PRIMARY KEY REFERENCES senders (phone),
    worker_id   uuid REFERENCES workers (id),
    generation  integer NOT NULL DEFAULT 0,  -- of session_generations, new each time that it is placed: fences former workers
    waha_name   text,                        -- its name there: the number, or 'default' on an old Core
    wanted      text NOT NULL DEFAULT 'RUNNING' CHECK (wanted IN ('RUNNING', 'STOPPED', 'GONE')),
    status      text NOT NULL DEFAULT 'QUEUED',
    reason      text,                        -- what it waits for, or what went wrong, for people
    live        boolean NOT NULL DEFAULT false, -- holds one of its worker's max_live slots
    logout      boolean NOT NULL DEFAULT false, -- a log-out was asked for and not yet done
    created     boolean NOT NULL DEFAULT false, -- exists on its worker, with our webhook
    queued_at   timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    status_at   timestamptz NOT NULL DEFAULT now(),
    last_active timestamptz,
    due_at      timestamptz,                 -- when the reconciler looks at it; null: nothing to do
    leased_until timestamptz,                -- a reconciler is at it; nobody else calls its worker for it before
    attempts    integer NOT NULL DEFAULT 0,  -- steps in a row that failed
    restarts    integer NOT NULL DEFAULT 0   -- after FAILED, since it last worked or a person last asked for it
);
CREATE INDEX sessions_queued ON sessions (queued_at, phone) WHERE worker_id IS NULL AND wanted = 'RUNNING';
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sessions_placed ON sessions (worker_id, phone) WHERE worker_id IS NOT NULL;

-- Sessions still to be deleted on a WAHA server that was removed by force. Given up after a while:
-- the server may be gone for good.
CREATE TABLE removals (
    worker_url text NOT NULL,
    waha_name  text NOT NULL,
    api_key    text NOT NULL,
    attempts   integer NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (worker_url, waha_name)
);

-- A campaign and where its messages stand. The counters are kept in the statement that moves a
-- message, so total = pending + sending + sent + delivered + read + failed + cancelled + suppressed
-- + unknown at every moment, pending being what is left.
CREATE TABLE campaigns (
    id                 uuid PRIMARY KEY,  -- UUIDv7: sorts by age
    sender             text NOT NULL REFERENCES senders (phone),
    template           text NOT NULL,
    variables          jsonb,             -- the campaign's own; an object of strings
    media_url          text,
    status             text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'SCHEDULED', 'IN_PROGRESS',
                       'PAUSED', 'COMPLETED', 'COMPLETED_WITH_ERRORS', 'CANCELLED')),
    cancel_reason      text,              -- why, when it was not its user who cancelled it
    total              integer NOT NULL CHECK (total > 0),
    sending            integer NOT NULL DEFAULT 0,
    sent               integer NOT NULL DEFAULT 0,
    delivered          integer NOT NULL DEFAULT 0,
    read               integer NOT NULL DEFAULT 0,
    failed             integer NOT NULL DEFAULT 0,
    cancelled          integer NOT NULL DEFAULT 0,
    suppressed         integer NOT NULL DEFAULT 0,
    unknown            integer NOT NULL DEFAULT 0,
    duplicates_removed integer NOT NULL DEFAULT 0,
    next_ordinal       integer NOT NULL DEFAULT 0, -- no message before it is unbegun but those in retries
    trace_id           uuid NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    started_at         timestamptz,
    completed_at       timestamptz,
    sweep_at           timestamptz NOT NULL DEFAULT now() + interval '30 seconds', -- when the sweep checks that its lane knows of it
    CHECK (sending >= 0 AND sent >= 0 AND delivered >= 0 AND read >= 0 AND failed >= 0 AND cancelled >= 0
        AND suppressed >= 0 AND unknown >= 0
        AND sending + sent + delivered + read + failed + cancelled + suppressed + unknown <= total)
) WITH (fillfactor = 50);
CREATE INDEX campaigns_of_sender ON campaigns (sender, id);
CREATE INDEX campaigns_open ON campaigns (sender, id) WHERE completed_at IS NULL;
CREATE INDEX campaigns_to_sweep ON campaigns (sweep_at) WHERE completed_at IS NULL;

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
    PRIMARY KEY (campaign_id, ordinal)
) WITH (fillfactor = 50);

-- Messages that are PENDING again although the cursor has passed them.
CREATE TABLE retries (
    campaign_id uuid NOT NULL,
    ordinal     integer NOT NULL,
    due_at      timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, ordinal)
);

-- Campaign jobs that the broker has not confirmed yet.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id   uuid NOT NULL,
    sender        text NOT NULL,
    trace_id      uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz NOT NULL DEFAULT '-infinity' -- a relay is publishing it
);
