//! Claims and conclusions: what they move, count and refuse.

use std::time::Duration;

use models::campaign::CampaignStatus;
use models::ids::{CampaignId, ReplicaId};
use models::message::{MessageKey, MessageStatus};
use models::phone::PhoneNumber;
use store::GenericClient as _;
use store::StoreError;
use store::campaigns;
use store::lanes::Tenure;
use store::ledger::{self, Cause, Claim, Conclusion, Outcome, Proof, Written};
use store::roster::{self, Speaker};
use store::unknown::{Resolution, Settled, settle};
use testkit::TestDatabase;

use crate::fixture::{campaign, kill, phone, replica, session, take, worker};

pub(crate) struct Scene {
    pub(crate) db: TestDatabase,
    pub(crate) replica: ReplicaId,
    pub(crate) tenure: Tenure,
    pub(crate) campaign: CampaignId,
}

pub(crate) async fn scene(recipients: i32) -> Scene {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let campaign = campaign(&db, &phone(1), recipients).await;
    let replica = replica(&db).await;
    let tenure = take(&db, replica, &phone(1)).await;
    Scene {
        db,
        replica,
        tenure,
        campaign,
    }
}

impl Scene {
    pub(crate) fn claim(&self, ordinal: i32) -> Claim {
        let key = MessageKey {
            campaign: self.campaign,
            ordinal,
        };
        Claim {
            tenure: self.tenure,
            phone: phone(1),
            generation: 1,
            key,
            message_id: None,
        }
    }

    pub(crate) fn conclusion(&self, ordinal: i32, outcome: Outcome) -> Conclusion {
        let key = MessageKey {
            campaign: self.campaign,
            ordinal,
        };
        Conclusion {
            tenure: self.tenure,
            phone: phone(1),
            key,
            claimed_on: self.tenure.worker,
            outcome,
        }
    }

    pub(crate) async fn write(&self, conclusions: &[Conclusion], claims: &[Claim]) -> Written {
        let mut client = self.db.store.client().await.unwrap();
        ledger::write(&mut client, self.replica, conclusions, claims)
            .await
            .unwrap()
    }

    /// The scene's number as its lane's roster has it.
    pub(crate) async fn speaker(&self) -> Result<Option<Speaker>, StoreError> {
        let client = self.db.store.client().await.unwrap();
        roster::one(&client, self.tenure.worker, &phone(1)).await
    }

    pub(crate) async fn send(&self, ordinal: i32, outcome: Outcome) -> Option<CampaignStatus> {
        let claimed = self.write(&[], &[self.claim(ordinal)]).await.claimed;
        assert!(
            claimed[0].is_some(),
            "message {ordinal} could not be claimed"
        );
        let written = self.write(&[self.conclusion(ordinal, outcome)], &[]).await;
        written.concluded[0].map(|concluded| concluded.campaign)
    }

    /// The campaign's status, its counters, and what its rows say, by status.
    pub(crate) async fn counts(&self) -> (String, Vec<i32>, Vec<i64>) {
        let client = self.db.store.client().await.unwrap();
        let says = store::campaigns::one(&client, self.campaign).await.unwrap();
        let says = says.unwrap();
        let counts = says.counts;
        let counters = [
            counts.sending,
            counts.sent,
            counts.failed,
            counts.cancelled,
            counts.unknown,
        ];
        let counters = counters.map(|count| i32::try_from(count).unwrap()).to_vec();
        let sql = "SELECT count(*) FILTER (WHERE status = 0 AND EXISTS (SELECT FROM senders
                    WHERE in_flight_campaign = campaign_id AND in_flight_ordinal = ordinal)),
            count(*) FILTER (WHERE status = 2),
            count(*) FILTER (WHERE status = 5), count(*) FILTER (WHERE status = 6),
            count(*) FILTER (WHERE status = 8) FROM messages WHERE campaign_id = $1";
        let rows = client
            .query_one(sql, &[&self.campaign.uuid()])
            .await
            .unwrap();
        (
            says.status.name().to_owned(),
            counters,
            (0..5).map(|column| rows.get(column)).collect(),
        )
    }
}

pub(crate) fn sent() -> Outcome {
    Outcome::Sent {
        message_id: Some("3EB0".to_owned()),
        proof: Proof::Answer,
    }
}

pub(crate) fn cause(code: &str) -> Cause {
    Cause {
        code: code.to_owned(),
        detail: "because".to_owned(),
    }
}

pub(crate) fn again(number_rests: bool) -> Outcome {
    Outcome::Again {
        cause: cause("later"),
        retry_in: Duration::from_secs(9),
        number_rests,
        tried: false,
    }
}

#[tokio::test]
async fn a_campaign_is_counted_in_the_statement_that_moves_its_messages() {
    let scene = scene(3).await;
    let claimed = scene.write(&[], &[scene.claim(0)]).await.claimed;
    let claimed = claimed[0].as_ref().unwrap();
    let recipient: PhoneNumber = "49000000000".parse().unwrap();
    assert_eq!((&claimed.recipient, claimed.attempt), (&recipient, 1));
    let (status, counters, rows) = scene.counts().await;
    assert_eq!(
        (status.as_str(), counters, rows),
        ("IN_PROGRESS", vec![1, 0, 0, 0, 0], vec![1, 0, 0, 0, 0])
    );

    // The conclusion and the sender's next claim travel in one group.
    let written = scene
        .write(&[scene.conclusion(0, sent())], &[scene.claim(1)])
        .await;
    assert!(written.concluded[0].is_some() && written.claimed[0].is_some());
    let unknown = Outcome::Unknown(cause("owner_died"));
    scene.write(&[scene.conclusion(1, unknown)], &[]).await;
    let status = scene
        .send(2, Outcome::Failed(cause("not_on_whatsapp")))
        .await;
    assert_eq!(status, Some(CampaignStatus::CompletedWithErrors));
    let (_, counters, rows) = scene.counts().await;
    assert_eq!((counters, rows), (vec![0, 1, 1, 0, 1], vec![0, 1, 1, 0, 1]));
}

/// Some of its messages were never sent, whatever is sent again by hand.
#[tokio::test]
async fn a_cancelled_campaign_that_goes_on_ends_as_cancelled() {
    let scene = scene(3).await;
    scene.write(&[], &[scene.claim(0)]).await;
    let mut client = scene.db.store.client().await.unwrap();
    let cancelled = store::campaigns::cancel(&mut client, scene.campaign);
    cancelled.await.unwrap();
    let unknown = Outcome::Unknown(cause("owner_died"));
    scene.write(&[scene.conclusion(0, unknown)], &[]).await;
    let again = settle(&mut client, scene.campaign, None, Resolution::Resend);
    assert_eq!(again.await.unwrap(), Settled::Messages(1));
    assert_eq!(scene.counts().await.0, "IN_PROGRESS");
    let status = scene.send(0, sent()).await;
    assert_eq!(status, Some(CampaignStatus::Cancelled));
    let (status, counters, _) = scene.counts().await;
    assert_eq!(
        (status.as_str(), counters),
        ("CANCELLED", vec![0, 1, 0, 2, 0])
    );
}

#[tokio::test]
async fn a_sender_has_one_message_in_flight() {
    let scene = scene(3).await;
    assert!(scene.write(&[], &[scene.claim(0)]).await.claimed[0].is_some());
    assert!(scene.write(&[], &[scene.claim(1)]).await.claimed[0].is_none());
    assert!(
        scene.write(&[], &[scene.claim(0)]).await.claimed[0].is_none(),
        "nor the same twice"
    );
}

#[tokio::test]
async fn messages_are_listed_by_what_they_are_not_by_what_their_rows_say() {
    let scene = scene(3).await;
    scene.send(0, sent()).await;
    assert!(scene.write(&[], &[scene.claim(1)]).await.claimed[0].is_some());
    let client = scene.db.store.client().await.unwrap();
    for (status, wanted) in [
        (None, vec![0, 1, 2]),
        (Some(MessageStatus::Pending), vec![2]),
        (Some(MessageStatus::Sending), vec![1]),
        (Some(MessageStatus::Sent), vec![0]),
        (Some(MessageStatus::Failed), vec![]),
    ] {
        let listed = campaigns::messages(&client, scene.campaign, status, -1, 9).await;
        let ordinals = listed.unwrap().into_iter().map(|message| message.ordinal);
        assert_eq!(ordinals.collect::<Vec<_>>(), wanted, "{status:?}");
    }
}

#[tokio::test]
async fn a_former_owner_writes_nothing() {
    let scene = scene(2).await;
    assert!(scene.write(&[], &[scene.claim(0)]).await.claimed[0].is_some());
    kill(&scene.db, scene.replica).await;
    let heir = replica(&scene.db).await;
    take(&scene.db, heir, &phone(1)).await;
    let written = scene
        .write(&[scene.conclusion(0, sent())], &[scene.claim(1)])
        .await;
    assert!(written.concluded[0].is_none() && written.claimed[0].is_none());
    let (_, counters, _) = scene.counts().await;
    assert_eq!(
        counters,
        vec![1, 0, 0, 0, 0],
        "what it had claimed waits to be settled"
    );
}

#[tokio::test]
async fn a_conclusion_is_of_its_own_claim_and_of_no_later_one() {
    let scene = scene(1).await;
    scene.write(&[], &[scene.claim(0)]).await;
    let elsewhere = Conclusion {
        claimed_on: models::ids::WorkerId::new(uuid::Uuid::now_v7()),
        ..scene.conclusion(0, again(false))
    };
    let written = scene.write(&[elsewhere], &[]).await;
    assert!(
        written.concluded[0].is_none(),
        "it was claimed anew by another worker's lane"
    );
    let written = scene.write(&[scene.conclusion(0, sent())], &[]).await;
    assert!(written.concluded[0].is_some());
}

#[tokio::test]
async fn a_session_that_moved_on_and_a_cancelled_campaign_refuse_claims() {
    let scene = scene(2).await;
    let stale = Claim {
        generation: 0,
        ..scene.claim(0)
    };
    assert!(scene.write(&[], &[stale]).await.claimed[0].is_none());
    let client = scene.db.store.client().await.unwrap();
    let sql = "UPDATE campaigns SET status = 'CANCELLED' WHERE id = $1";
    client
        .execute(sql, &[&scene.campaign.uuid()])
        .await
        .unwrap();
    assert!(scene.write(&[], &[scene.claim(0)]).await.claimed[0].is_none());
}

#[tokio::test]
async fn what_was_not_sent_waits_and_costs_no_attempt() {
    let scene = scene(1).await;
    assert_eq!(
        scene.send(0, again(true)).await,
        Some(CampaignStatus::InProgress)
    );
    let client = scene.db.store.client().await.unwrap();
    let speaker = scene.speaker().await.unwrap();
    let speaker = speaker.unwrap();
    assert!(
        speaker
            .resting_for
            .is_some_and(|rest| rest > Duration::from_secs(5))
    );
    let (ordinal, due_in) = speaker.campaign.unwrap().retry.unwrap();
    assert!(ordinal == 0 && due_in > Duration::from_secs(5));
    let claimed = scene.write(&[], &[scene.claim(0)]).await.claimed;
    assert_eq!(claimed[0].as_ref().map(|claimed| claimed.attempt), Some(1));
    let written = scene.write(&[scene.conclusion(0, sent())], &[]).await;
    assert_eq!(
        written.concluded[0].map(|c| c.campaign),
        Some(CampaignStatus::Completed)
    );
    let left: i64 = client
        .query_one("SELECT count(*) FROM retries", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_session_that_came_back_ends_its_rest_and_nothing_else_does() {
    for (code, rests) in [("session_not_working", false), ("time_locked", true)] {
        let scene = scene(1).await;
        let retry_in = Duration::from_secs(9);
        let again = Outcome::Again {
            cause: cause(code),
            retry_in,
            number_rests: true,
            tried: false,
        };
        scene.send(0, again).await;
        let client = scene.db.store.client().await.unwrap();
        let speaker = || async {
            let found = scene.speaker().await;
            found.unwrap().unwrap()
        };
        assert!(speaker().await.resting_for.is_some());
        let sql = "UPDATE sessions SET status_at = clock_timestamp()";
        client.execute(sql, &[]).await.unwrap();
        let speaker = speaker().await;
        let (_, due_in) = speaker.campaign.unwrap().retry.unwrap();
        assert_eq!(
            (speaker.resting_for.is_some(), !due_in.is_zero()),
            (rests, rests),
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_message_under_way_when_its_campaign_is_cancelled_ends_truthfully() {
    for (outcome, wanted) in [(sent(), [0, 1, 0, 0, 0]), (again(false), [0, 0, 0, 1, 0])] {
        let scene = scene(1).await;
        scene.write(&[], &[scene.claim(0)]).await;
        let client = scene.db.store.client().await.unwrap();
        let sql = "UPDATE campaigns SET status = 'CANCELLED', completed_at = now() WHERE id = $1";
        client
            .execute(sql, &[&scene.campaign.uuid()])
            .await
            .unwrap();
        scene.write(&[scene.conclusion(0, outcome)], &[]).await;
        let (status, counters, _) = scene.counts().await;
        assert_eq!(
            (status.as_str(), counters.as_slice()),
            ("CANCELLED", wanted.as_slice())
        );
    }
}
