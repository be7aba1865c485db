-- A message is to be asked about when WhatsApp has said nothing of it for a while, which is so of
-- few. A receipt is therefore not marked (ask_at) when it is made, which cost each claim an entry in
-- an index and each report one in every index of the table, but later and only if it is still
-- unheard of: each is looked at once, in the order in which they were made.
-- Read by store::receipts::ask.
CREATE TABLE ask_mark (
    id    smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    until timestamptz NOT NULL -- receipts that were made up to then have been looked at
);
INSERT INTO ask_mark (until) VALUES (now());
