//! What is on its way, in SQL. A number's row alone tells it, for at most one message of the
//! number; the message's own row says PENDING until it is known what became of it.

/// How many messages of campaign `c` are on their way: one or none.
macro_rules! sending {
    () => {
        "(SELECT count(*) FROM senders d
            WHERE d.phone = c.sender AND d.in_flight_campaign = c.id)::integer"
    };
}
pub(crate) use sending;

/// Joins to message `m` of campaign `c` its number's row `f`, while it is on its way.
macro_rules! flight {
    () => {
        "LEFT JOIN senders f ON f.phone = c.sender AND f.in_flight_campaign = m.campaign_id
            AND f.in_flight_ordinal = m.ordinal"
    };
}
pub(crate) use flight;

/// The status of message `m`, with [`flight!`].
macro_rules! status {
    () => {
        "CASE WHEN f.phone IS NULL THEN m.status ELSE 1::smallint END"
    };
}
pub(crate) use status;

/// What message `m` is, with [`flight!`]: status, attempts, WhatsApp id.
macro_rules! standing {
    () => {
        concat!(
            crate::flight::status!(),
            ", m.attempts + (f.phone IS NOT NULL)::integer::smallint,
            COALESCE(m.waha_message_id, f.in_flight_message_id)"
        )
    };
}
pub(crate) use standing;

/// The steps of message `m`, with [`flight!`].
macro_rules! steps {
    () => {
        "CASE WHEN f.phone IS NULL THEN m.steps ELSE m.steps || flight_step(f) END"
    };
}
pub(crate) use steps;

/// What an update of a number's row sets when nothing of it is on its way any more.
macro_rules! landed {
    () => {
        "in_flight_campaign = NULL, in_flight_ordinal = NULL, in_flight_worker = NULL,
            in_flight_replica = NULL, in_flight_epoch = NULL, in_flight_message_id = NULL,
            in_flight_at = NULL, in_flight_reported = false"
    };
}
pub(crate) use landed;
