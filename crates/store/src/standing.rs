//! What a message is, in SQL, where its own row does not say it and goes on saying PENDING: it is
//! on its way, which its number's row tells, of at most one message; or its campaign was cancelled
//! before it was begun, which the campaign tells for all of them.

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

/// Whether campaign `c` was cancelled before its message `m` was begun.
macro_rules! never_begun {
    () => {
        "(m.status = 0 AND m.ordinal >= c.cancelled_from) IS TRUE"
    };
}
pub(crate) use never_begun;

/// The status of message `m` of campaign `c`, with [`flight!`].
macro_rules! status {
    () => {
        concat!(
            "CASE WHEN f.phone IS NOT NULL THEN 1 WHEN ",
            crate::standing::never_begun!(),
            " THEN 6 ELSE m.status END::smallint"
        )
    };
}
pub(crate) use status;

/// What message `m` of campaign `c` is, with [`flight!`]: status, attempts, WhatsApp id.
macro_rules! standing {
    () => {
        concat!(
            crate::standing::status!(),
            ", m.attempts + (f.phone IS NOT NULL)::integer::smallint,
            COALESCE(m.waha_message_id, f.in_flight_message_id)"
        )
    };
}
pub(crate) use standing;

/// The steps of message `m` of campaign `c`, with [`flight!`].
macro_rules! steps {
    () => {
        concat!(
            "CASE WHEN f.phone IS NOT NULL THEN m.steps || flight_step(f) WHEN ",
            crate::standing::never_begun!(),
            " THEN m.steps || ROW(c.cancelled_at, 6, NULL, NULL, NULL,
                'campaign_cancelled')::message_step ELSE m.steps END"
        )
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
