//! Numbers that speak at a steady pace for a while, and how well that was kept by the workers' own
//! clock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::cost::Cpu;
use super::figure::quantile;
use super::fleet::Fleet;
use super::sql;
use super::stage::{Hall, Scene, Stage};

/// A pace and those who keep it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    /// Numbers that speak.
    pub(crate) senders: usize,
    /// Numbers on one worker.
    pub(crate) per_worker: usize,
    /// Between two messages of one number.
    pub(crate) gap: Duration,
    /// For how long.
    pub(crate) lasts: Duration,
    /// Sender replicas.
    pub(crate) replicas: u32,
}

/// How a pace was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Numbers that spoke.
    pub(crate) speakers: usize,
    /// Gaps between two messages of a number, from the first on.
    pub(crate) gaps: usize,
    /// Those that were shorter than the rule.
    pub(crate) early: usize,
    /// Milliseconds by which gaps were longer, one a gap, after the warm-up.
    pub(crate) late: Vec<f64>,
    /// Seconds after the warm-up.
    pub(crate) secs: f64,
    /// CPU seconds a second, by role.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Messages a second.
    pub(crate) rate: f64,
}

/// A message as the simulator heard it.
#[derive(Deserialize)]
struct Heard {
    session: String,
    arrived_mono_ns: u64,
    answered_mono_ns: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    next: u64,
    newest: u64,
    messages: Vec<Heard>,
}

/// A simulator that remembers all that it heard.
const FLEET: &str = "--time-scale 0.001 --send-delay-ms 0 --lost-ack-share 1 --stored-messages 10";
/// The first gaps are of a start in which everything is cold.
const WARM_UP: Duration = Duration::from_secs(4);

/// Sets the scene of a pace; nobody speaks yet.
pub(crate) async fn set(hall: &Hall, paced: Paced) -> anyhow::Result<(Stage, Client, Fleet)> {
    let scene = Scene {
        settings: super::send::UNPACED,
        workers: u32::try_from(paced.senders.div_ceil(paced.per_worker))?,
        simulator: FLEET,
    };
    let stage = hall.stage(scene).await?;
    let db = stage.db().await?;
    sql::set_delays(&db, [paced.gap, Duration::ZERO, Duration::ZERO]).await?;
    let fleet = Fleet::link(&stage, &db, paced.senders).await?;
    let each = paced.lasts.as_secs_f64() / paced.gap.as_secs_f64();
    sql::add_campaigns(&db, &fleet.phones, each as usize + 20).await?;
    sql::hold_campaigns(&db).await?;
    sql::analyze(&db).await?;
    Ok((stage, db, fleet))
}

/// Lets everybody speak: each for the first time at a moment of its own within one gap, and nobody
/// before all lanes are where they stay.
pub(crate) async fn begin(hall: &Hall, set: (&Stage, &Client), paced: Paced) -> anyhow::Result<()> {
    let (stage, db) = set;
    let names: Vec<String> = (1..=paced.replicas)
        .map(|n| format!("sender-{n}"))
        .collect();
    for number in 1..=paced.replicas {
        stage.start(hall, "sender", number).await?;
    }
    sql::share_lanes(db, &names).await?;
    sql::scatter_senders(db, paced.gap).await?;
    sql::release_campaigns(db).await?;
    Ok(())
}

/// Lets everybody speak for the time that was set, and judges what the workers heard.
pub(crate) async fn keep(hall: &Hall, paced: Paced) -> anyhow::Result<Kept> {
    let (stage, db, _fleet) = set(hall, paced).await?;
    begin(hall, (&stage, &db), paced).await?;
    sleep(WARM_UP).await;
    let (from, before) = (heard_so_far(&stage).await?, Cpu::of(&stage));
    sleep(paced.lasts.saturating_sub(WARM_UP)).await;
    let (upto, after) = (heard_so_far(&stage).await?, Cpu::of(&stage));
    for number in 1..=paced.replicas {
        stage.stop(&format!("sender-{number}")).await;
    }
    let secs = (paced.lasts - WARM_UP).as_secs_f64();
    let (sent, heard) = (sql::sent(&db).await?, heard_so_far(&stage).await?);
    ensure!(
        sent == i64::try_from(heard)?,
        "{heard} messages were heard, and {sent} are in the ledger as sent"
    );
    let mut kept = judge(&stage, (from, upto), paced.gap).await?;
    kept.secs = secs;
    kept.rate = (upto - from) as f64 / secs;
    kept.cpu = after.since(&before);
    for used in kept.cpu.values_mut() {
        *used /= secs;
    }
    let (speakers, senders) = (kept.speakers, paced.senders);
    ensure!(speakers == senders, "{speakers} of {senders} numbers spoke");
    Ok(kept)
}

impl Kept {
    /// Milliseconds that a share of all gaps was not later than.
    pub(crate) fn lateness(&self, share: f64) -> f64 {
        quantile(&self.late, share)
    }

    /// Numbers that were served: as many as it takes for the gaps that were not later than this.
    pub(crate) fn served(&self, millis: f64, gap: Duration) -> f64 {
        let good = self.late.iter().filter(|late| **late <= millis).count();
        good as f64 * gap.as_secs_f64() / self.secs
    }

    /// Cores used, by role, as one line.
    pub(crate) fn cores(&self) -> String {
        let parts = self.cpu.iter().filter(|(_, used)| **used >= 0.005);
        let parts: Vec<_> = parts
            .map(|(role, used)| format!("{role} {used:.2}"))
            .collect();
        format!("cores: {}", parts.join(", "))
    }
}

/// Messages that the simulator has heard.
pub(crate) async fn heard_so_far(stage: &Stage) -> anyhow::Result<u64> {
    Ok(page(stage, 0, 1).await?.newest)
}

async fn page(stage: &Stage, after: u64, limit: u64) -> anyhow::Result<Page> {
    let worker = stage.workers.first().context("there is no simulator")?;
    // One log for all workers, at the root of their control paths.
    let (root, _) = worker
        .control
        .rsplit_once('/')
        .context("an odd control path")?;
    let url = format!("{root}/heard?after={after}&limit={limit}");
    let answer = reqwest::get(url).await?.error_for_status()?;
    Ok(answer.json().await?)
}

/// Gaps since the start are judged by the rule; how late they are, since `from`.
async fn judge(stage: &Stage, (from, upto): (u64, u64), gap: Duration) -> anyhow::Result<Kept> {
    let mut kept = Kept::default();
    let mut answered: HashMap<String, u64> = HashMap::new();
    let mut after = 0;
    while after < upto {
        let warm = after >= from;
        let bound = if warm { upto } else { from };
        let page = page(stage, after, (bound - after).min(10_000)).await?;
        ensure!(page.next > after, "the simulator's log has a hole");
        after = page.next;
        for heard in page.messages {
            let before = heard
                .answered_mono_ns
                .map(|at| answered.insert(heard.session, at));
            let Some(Some(before)) = before else { continue };
            let waited = heard.arrived_mono_ns.saturating_sub(before) as f64 / 1e6;
            let late = waited - gap.as_secs_f64() * 1e3;
            kept.early += usize::from(late < 0.0);
            kept.gaps += 1;
            if warm {
                kept.late.push(late);
            }
        }
    }
    kept.speakers = answered.len();
    Ok(kept)
}
