//! Which worker a queued session gets.
//!
//! Always true: the oldest queued session goes first, to the least loaded worker with room (the
//! same rule as `policy::placement`), and no worker ever holds more than it may, however many
//! placers run at once. The cost does not depend on the number of workers or sessions: both are
//! the first entries of partial indexes.

use std::time::Duration;

use models::ids::WorkerId;
use models::phone::PhoneNumber;

use crate::column::phone;
use crate::{GenericClient, StoreError};

/// A session that has just got its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Whose session it is.
    pub phone: PhoneNumber,
    /// The worker it is on now.
    pub worker: WorkerId,
    /// What facts from that worker must carry to be believed.
    pub generation: i32,
}

// Placers wait for each other at the queue's head, so that none overtakes; a worker's row that is
// held for a moment (by its check) is passed over, and the session is tried again a second later.
// `oldest` is read first, because `room` asks for it. Lock order: sessions, then workers.
const PLACE_OLDEST: &str = "
    WITH oldest AS (
        SELECT phone FROM sessions
        WHERE worker_id IS NULL AND wanted = 'RUNNING'
        ORDER BY queued_at, phone
        LIMIT 1
        FOR NO KEY UPDATE
    ), room AS (
        SELECT id, multi_session FROM workers
        WHERE state = 'active' AND health = 'up' AND placed < slots AND live < max_live
          AND EXISTS (SELECT 1 FROM oldest)
        ORDER BY placed::real / GREATEST(slots, 1)::real, id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE workers w SET placed = w.placed + 1, live = w.live + 1
        FROM room WHERE w.id = room.id
    )
    UPDATE sessions s
    SET worker_id = room.id,
        generation = nextval('session_generations'),
        waha_name = CASE WHEN room.multi_session THEN s.phone ELSE 'default' END,
        status = 'STARTING', status_at = now(), reason = NULL,
        live = true, created = false, attempts = 0, restarts = 0,
        leased_until = NULL, due_at = now()
    FROM oldest, room
    WHERE s.phone = oldest.phone
    RETURNING s.phone, s.worker_id, s.generation";

/// Places the session that has waited longest, if any waits and any worker has room. It becomes
/// due at once, for a reconciler to make it on its worker.
pub async fn place_oldest(db: &impl GenericClient) -> Result<Option<Placed>, StoreError> {
    let statement = db.prepare_cached(PLACE_OLDEST).await?;
    let Some(row) = db.query_opt(&statement, &[]).await? else {
        return Ok(None);
    };
    Ok(Some(Placed {
        phone: phone(row.get(0))?,
        worker: WorkerId::new(row.get(1)),
        generation: row.get(2),
    }))
}

/// The sessions that no worker has room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many wait; counted to 100,000 at most.
    pub length: i64,
    /// How long the first of them has waited; zero when none does.
    pub oldest: Duration,
}

const QUEUE: &str = "
    SELECT count(*), COALESCE(extract(epoch FROM now() - min(queued_at)), 0)::double precision
    FROM (SELECT queued_at FROM sessions WHERE worker_id IS NULL AND wanted = 'RUNNING'
          ORDER BY queued_at, phone LIMIT 100000) waiting";

/// How long the queue is.
pub async fn queue(db: &impl GenericClient) -> Result<Queue, StoreError> {
    let statement = db.prepare_cached(QUEUE).await?;
    let row = db.query_one(&statement, &[]).await?;
    Ok(Queue {
        length: row.get(0),
        oldest: Duration::try_from_secs_f64(row.get(1)).unwrap_or_default(),
    })
}
