//! The users and operators of a chaos run: they create sessions, link them again when a phone
//! unlinks them, submit campaigns all the time, cancel a few, and look at how they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::Store;
use store::audit::campaigns;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::check::{Violation, conserved, explained};
use super::world::World;
use crate::demo::api::Api;

/// Numbers that send.
const NUMBERS: usize = 32;
/// Campaigns of one number that are open at once.
const OPEN_MAX: usize = 2;
/// Recipients of a campaign.
const RECIPIENTS: std::ops::RangeInclusive<usize> = 8..=30;
/// One campaign in so many is cancelled.
const CANCEL_ONE_IN: u32 = 40;
/// Sessions must be linked in this time, on a busy machine too.
const LINKED_WITHIN: Duration = Duration::from_secs(120);
/// After the last fault every campaign must end in this time.
const ENDED_WITHIN: Duration = Duration::from_secs(300);
/// Answers of 30 s ago say nothing any more; the guide of a client gives up sooner.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at one campaign that are further apart see nothing of what is between.
const LOOK_GAP_MAX: Duration = Duration::from_secs(2);

/// What the load has done and seen.
#[derive(Debug, Default)]
struct State {
    accepted: Vec<(Uuid, Vec<String>)>,
    open: BTreeMap<Uuid, String>,
    /// How open campaigns looked last.
    looked: BTreeMap<Uuid, Look>,
    next_recipient: u64,
    unanswered: u64,
    looks: u64,
    violations: Vec<Violation>,
}

impl State {
    /// For how long a campaign has neither moved nor shown a reason.
    fn unexplained_for(&mut self, id: Uuid, status: &Value) -> Duration {
        let now = Instant::now();
        let counters = ["pending", "sending", "sent", "failed", "unknown"]
            .map(|name| status[format!("{name}_messages")].as_i64().unwrap_or(-1));
        let fresh = Look {
            at: now,
            counters,
            explained_at: now,
        };
        let look = self.looked.entry(id).or_insert(fresh);
        // What happened while nobody looked nobody can say.
        let unseen = now - look.at > LOOK_GAP_MAX;
        if unseen || look.counters != counters || !status["reason"].is_null() {
            look.explained_at = now;
        }
        (look.at, look.counters) = (now, counters);
        now - look.explained_at
    }
}

/// The load of one run.
pub(crate) struct Load {
    world: Arc<World>,
    apis: Vec<Api>,
    state: Mutex<State>,
    stop: watch::Sender<bool>,
}

/// A look at a campaign.
#[derive(Debug)]
struct Look {
    at: Instant,
    counters: [i64; 5],
    /// When it last moved or showed a reason.
    explained_at: Instant,
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Campaigns answered with 202, and their recipients.
    pub(crate) accepted: Vec<(Uuid, Vec<String>)>,
    /// Submissions without an answer, which may exist or not.
    pub(crate) unanswered: u64,
    /// Status answers that were judged.
    pub(crate) looks: u64,
    /// What those broke.
    pub(crate) violations: Vec<Violation>,
}

fn number(n: usize) -> String {
    format!("2164210{n:04}")
}

impl Load {
    /// A load that has not begun.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(crate) fn new(world: &Arc<World>) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            world: Arc::clone(world),
            apis: world.apis()?,
            state: Mutex::default(),
            stop: watch::channel(false).0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self, turn: usize) -> &Api {
        &self.apis[turn % self.apis.len()]
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Creates and links all sessions.
    ///
    /// # Errors
    /// They do not work in time.
    pub(crate) async fn link_all(self: &Arc<Self>) -> anyhow::Result<()> {
        for n in 0..NUMBERS {
            let body = json!({"phone_number": number(n)});
            self.api(n).post("/api/sessions", body).await?;
        }
        let began = Instant::now();
        loop {
            self.link_again().await?;
            let sessions = self.api(0).get("/api/sessions?limit=1000").await?;
            let sessions = sessions.as_array().context("sessions are no list")?;
            let working = sessions.iter().filter(|one| one["status"] == "WORKING");
            if working.count() == NUMBERS {
                return Ok(());
            }
            if began.elapsed() > LINKED_WITHIN {
                bail!("not all sessions were linked within {LINKED_WITHIN:?}: {sessions:?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A person with all the phones: scans every QR code, and asks for one where a session failed.
    async fn link_again(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        for worker in &self.world.workers {
            let list = client
                .get(format!("{}/api/sessions?all=true", worker.url))
                .header("X-Api-Key", &worker.api_key);
            // A worker that is just restarting answers nobody.
            let Ok(answer) = list.send().await else {
                continue;
            };
            let list: Value = answer.json().await.unwrap_or_default();
            for session in list.as_array().into_iter().flatten() {
                let name = session["name"].as_str().unwrap_or_default();
                match session["status"].as_str() {
                    Some("SCAN_QR_CODE") => {
                        let body = json!({"session": name, "phone": name});
                        let scan = client.post(format!("{}/link", worker.control)).json(&body);
                        let _comes_again = scan.send().await;
                    }
                    Some("FAILED") => {
                        let path = format!("/api/sessions/{name}/qr");
                        let _comes_again = self.api(0).call(Method::GET, &path, None).await;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Works until [`Load::finish`].
    pub(crate) fn start(self: &Arc<Self>, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let (submits, looks, links) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        vec![
            tokio::spawn(async move { submits.submit(seed).await }),
            tokio::spawn(async move { looks.look().await }),
            tokio::spawn(async move {
                let mut ends = links.stop.subscribe();
                while !*ends.borrow_and_update() {
                    let _comes_again = links.link_again().await;
                    sleep(2 * LOOK_EVERY).await;
                }
                // Phones are there to the end: what was unlinked must still be sent.
                for _ in 0..ENDED_WITHIN.as_secs() {
                    let _comes_again = links.link_again().await;
                    sleep(Duration::from_secs(1)).await;
                }
            }),
        ]
    }

    async fn submit(&self, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed ^ 0x10ad);
        let mut turn = 0;
        while !self.stopped() {
            for n in 0..NUMBERS {
                let sender = number(n);
                let open = self
                    .state()
                    .open
                    .values()
                    .filter(|one| **one == sender)
                    .count();
                if open < OPEN_MAX && !self.stopped() {
                    turn += 1;
                    let count = chance.random_range(RECIPIENTS);
                    let cancelled = chance.random_ratio(1, CANCEL_ONE_IN);
                    self.submit_one(turn, &sender, count, cancelled).await;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn submit_one(&self, turn: usize, sender: &str, count: usize, cancelled: bool) {
        let first = {
            let mut state = self.state();
            state.next_recipient += count as u64;
            state.next_recipient - count as u64
        };
        let numbers = (first..).take(count);
        let recipients: Vec<_> = numbers.map(|n| format!("49{n:010}")).collect();
        let body = json!({"sender_number": sender, "recipients": recipients,
            "template": "Hello {{number}}, this is chaos", "variables": {"number": "you"}});
        let answer = self
            .api(turn)
            .call(Method::POST, "/api/send", Some(body))
            .await;
        match answer {
            Ok((StatusCode::ACCEPTED, body)) => {
                let id = body["id"].as_str().and_then(|id| id.parse().ok());
                let id: Uuid = id.unwrap_or_default();
                self.note_accepted(id, recipients, sender);
                if cancelled {
                    let path = format!("/api/cancel/{id}");
                    let _may_fail = self.api(turn).call(Method::POST, &path, None).await;
                }
            }
            // Nobody knows whether it was taken; nobody asks twice with the same recipients.
            Err(_) | Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
                self.state().unanswered += 1;
                sleep(LOOK_EVERY).await;
            }
            Ok((status, body)) => self.state().violations.push(Violation {
                rule: "answer",
                recipient: None,
                what: format!("a campaign was answered with {status}: {body}"),
            }),
        }
    }

    fn note_accepted(&self, id: Uuid, recipients: Vec<String>, sender: &str) {
        let mut state = self.state();
        state.accepted.push((id, recipients));
        state.open.insert(id, sender.to_owned());
    }

    /// Looks at every open campaign again and again.
    async fn look(&self) {
        let mut turn = 0;
        while !self.stopped() {
            let open: Vec<_> = self.state().open.keys().copied().collect();
            for id in open {
                turn += 1;
                let path = format!("/api/status/{id}");
                let answer = self.api(turn).call(Method::GET, &path, None).await;
                let Ok((StatusCode::OK, status)) = answer else {
                    continue;
                };
                let mut state = self.state();
                state.looks += 1;
                state.violations.extend(conserved(&status));
                let unexplained_for = state.unexplained_for(id, &status);
                state.violations.extend(explained(&status, unexplained_for));
                if !status["completed_at"].is_null() {
                    state.open.remove(&id);
                    state.looked.remove(&id);
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Submits no more and waits until every campaign has ended, whoever submitted it.
    pub(crate) async fn finish(&self) -> anyhow::Result<Done> {
        self.stop.send_replace(true);
        let store = Store::new(&self.world.database, 1)?;
        let ends = BTreeSet::from(["COMPLETED", "COMPLETED_WITH_ERRORS", "CANCELLED"]);
        let began = Instant::now();
        while began.elapsed() < ENDED_WITHIN {
            let db = store.client().await?;
            let (mut after, mut open) = (Uuid::nil(), 0);
            loop {
                let page = campaigns(&db, after).await?;
                let Some((last, ..)) = page.last() else { break };
                after = *last;
                let going_on = |status: &&String| !ends.contains(status.as_str());
                open += page
                    .iter()
                    .map(|(.., status)| status)
                    .filter(going_on)
                    .count();
            }
            if open == 0 {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        // Late acks, and the questions about missing ones, have their say.
        sleep(Duration::from_secs(8)).await;
        let state = std::mem::take(&mut *self.state());
        Ok(Done {
            accepted: state.accepted,
            unanswered: state.unanswered,
            looks: state.looks,
            violations: state.violations,
        })
    }
}
