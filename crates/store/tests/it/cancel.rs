//! Cancelling costs the same whatever the size, and tells of each message what became of it.

use models::campaign::CampaignStatus;
use models::message::MessageStatus::{self, Cancelled, Delivered, Pending, Sending, Sent, Unknown};
use store::audit::audit;
use store::campaigns::{self, Cancellation};
use store::ledger::Outcome;
use store::reconcile;
use store::unknown::{Resolution, Settled, settle};
use tokio::time::timeout;

use crate::fixture::DEAD_AFTER;
use crate::ledger::{Scene, again, cause, scene};
use crate::races::BOUND;

async fn cancel(scene: &Scene) {
    let mut client = scene.db.store.client().await.unwrap();
    let cancelling = campaigns::cancel(&mut client, scene.campaign);
    let cancelled = timeout(BOUND, cancelling).await.unwrap().unwrap();
    assert_eq!(cancelled, Cancellation::Cancelled);
}

/// The statuses of all messages in their order; each is also found by its status and told so by
/// its story, and the campaign counts it so.
async fn statuses(scene: &Scene) -> Vec<MessageStatus> {
    let mut client = scene.db.store.client().await.unwrap();
    let id = scene.campaign;
    let all = campaigns::messages(&client, id, None, -1, 99)
        .await
        .unwrap();
    for status in [Pending, Sending, Sent, Delivered, Cancelled, Unknown] {
        let listed = campaigns::messages(&client, id, Some(status), -1, 99).await;
        let listed: Vec<_> = listed.unwrap().iter().map(|m| m.ordinal).collect();
        let with = all.iter().filter(|m| m.status == status);
        let with: Vec<_> = with.map(|m| m.ordinal).collect();
        assert_eq!(listed, with, "{status:?}");
    }
    for message in &all {
        let story = store::story::story(&client, id, &message.recipient).await;
        let story = story.unwrap().unwrap();
        assert_eq!(story.status, message.status);
        let last = story.steps.last().unwrap();
        assert_eq!(last.status, message.status, "{:?}", story.steps);
    }
    assert_eq!(audit(&mut client).await.unwrap().differences, []);
    all.iter().map(|message| message.status).collect()
}

async fn status(scene: &Scene) -> CampaignStatus {
    let client = scene.db.store.client().await.unwrap();
    let campaign = campaigns::one(&client, scene.campaign).await.unwrap();
    campaign.unwrap().status
}

#[tokio::test]
async fn cancelling_writes_no_message_that_was_not_begun() {
    let scene = scene(4).await;
    scene.accepted_by(0, "A").await;
    let mut holder = scene.db.client().await;
    let held = holder.transaction().await.unwrap();
    held.execute("SELECT FROM messages FOR UPDATE", &[])
        .await
        .unwrap();
    cancel(&scene).await;
    assert_eq!(
        statuses(&scene).await,
        [Sent, Cancelled, Cancelled, Cancelled]
    );
    held.rollback().await.unwrap();
    cancel(&scene).await;
    scene.ack("A", 2).await;
    assert_eq!(
        statuses(&scene).await,
        [Delivered, Cancelled, Cancelled, Cancelled]
    );
    let client = scene.db.store.client().await.unwrap();
    let last = "49000000003".parse().unwrap();
    let story = store::story::story(&client, scene.campaign, &last).await;
    let story = story.unwrap().unwrap();
    let steps: Vec<_> = story.steps.iter().map(|s| s.answer.as_deref()).collect();
    assert_eq!(
        steps,
        [Some("campaign_accepted"), Some("campaign_cancelled")]
    );
}

#[tokio::test]
async fn what_waits_for_another_attempt_is_cancelled_and_may_turn_out_to_be_heard() {
    let scene = scene(3).await;
    scene.claim_by(0, "A").await;
    scene.write(&[scene.conclusion(0, again(false))], &[]).await;
    cancel(&scene).await;
    assert_eq!(statuses(&scene).await, [Cancelled; 3]);
    scene.ack("A", 2).await;
    assert_eq!(statuses(&scene).await, [Delivered, Cancelled, Cancelled]);
}

#[tokio::test]
async fn what_is_on_its_way_concludes_as_it_would_have() {
    for (outcome, ends) in [
        (again(true), Cancelled),
        (Outcome::Unknown(cause("timeout")), Unknown),
    ] {
        let scene = scene(3).await;
        scene.claim_by(0, "A").await;
        cancel(&scene).await;
        assert_eq!(statuses(&scene).await, [Sending, Cancelled, Cancelled]);
        let refused = scene.write(&[], &[scene.claim(1)]).await.claimed;
        assert_eq!(refused, [None]);
        scene.write(&[scene.conclusion(0, outcome)], &[]).await;
        assert_eq!(statuses(&scene).await, [ends, Cancelled, Cancelled]);
    }
}

#[tokio::test]
async fn a_campaign_that_goes_on_says_nothing_that_was_cancelled() {
    let scene = scene(4).await;
    for (ordinal, id) in [(0, "A"), (1, "B")] {
        scene.claim_by(ordinal, id).await;
        let unknown = Outcome::Unknown(cause("timeout"));
        scene
            .write(&[scene.conclusion(ordinal, unknown)], &[])
            .await;
    }
    cancel(&scene).await;
    let mut client = scene.db.store.client().await.unwrap();
    let resent = settle(&mut client, scene.campaign, None, Resolution::Resend);
    resent.await.unwrap();
    assert_eq!(
        statuses(&scene).await,
        [Pending, Pending, Cancelled, Cancelled]
    );
    assert_eq!(status(&scene).await, CampaignStatus::InProgress);
    // By a lane that has not heard of any of this.
    let stale = scene.write(&[], &[scene.claim(2)]).await.claimed;
    assert_eq!(stale, [None]);
    let speaker = scene.speaker().await.unwrap().unwrap();
    let campaign = speaker.campaign.unwrap();
    assert_eq!(
        (campaign.retry.map(|r| r.0), campaign.next_ordinal),
        (Some(0), None)
    );
    scene.claim_by(0, "C").await;
    assert_eq!(
        statuses(&scene).await,
        [Sending, Pending, Cancelled, Cancelled]
    );
    scene.write(&[scene.conclusion(0, again(false))], &[]).await;
    cancel(&scene).await;
    assert_eq!(statuses(&scene).await, [Cancelled; 4]);
    assert_eq!(status(&scene).await, CampaignStatus::Cancelled);
}

#[tokio::test]
async fn all_campaigns_of_a_session_end_with_it() {
    let scene = scene(2).await;
    scene.claim_by(0, "A").await;
    scene.write(&[scene.conclusion(0, again(false))], &[]).await;
    let phone = crate::fixture::phone(1);
    let mut others = Vec::new();
    for total in 1..4 {
        others.push(crate::fixture::campaign(&scene.db, &phone, total).await);
    }
    let mut client = scene.db.store.client().await.unwrap();
    let removed = store::sessions::remove(&mut client, &phone).await.unwrap();
    assert_eq!(removed, Some(4));
    assert_eq!(statuses(&scene).await, [Cancelled; 2]);
    for (total, id) in (1..).zip(others) {
        let campaign = campaigns::one(&client, id).await.unwrap().unwrap();
        assert_eq!(campaign.status, CampaignStatus::Cancelled);
        assert_eq!(campaign.counts.cancelled, total);
        let why = campaign.cancel_reason;
        assert_eq!(why.as_deref(), Some("the sender's session was removed"));
    }
}

/// Its messages were to be said again while it left, or afterwards.
#[tokio::test]
async fn what_goes_on_ends_again_with_its_session_but_not_with_the_next_one() {
    let phone = crate::fixture::phone(1);
    for revived in [true, false] {
        let scene = scene(2).await;
        scene.claim_by(0, "A").await;
        let unknown = Outcome::Unknown(cause("timeout"));
        scene.write(&[scene.conclusion(0, unknown)], &[]).await;
        let mut client = scene.db.store.client().await.unwrap();
        scene.sql("UPDATE workers SET placed = 1").await;
        store::sessions::remove(&mut client, &phone).await.unwrap();
        resend(&scene).await;
        if !revived {
            let due = reconcile::claim_due(&client, 9, DEAD_AFTER).await.unwrap();
            assert!(reconcile::forget(&mut client, &due[0]).await.unwrap());
            assert_eq!(statuses(&scene).await, [Cancelled; 2]);
            scene
                .sql("UPDATE messages SET status = 8, steps = NULL WHERE ordinal = 0")
                .await;
            scene
                .sql("UPDATE campaigns SET unknown = 1, cancelled = 1")
                .await;
            resend(&scene).await;
        }
        assert!(store::sessions::create(&mut client, &phone).await.unwrap());
        let (first, ends) = if revived {
            (Cancelled, CampaignStatus::Cancelled)
        } else {
            (Pending, CampaignStatus::InProgress)
        };
        assert_eq!(statuses(&scene).await, [first, Cancelled]);
        assert_eq!(status(&scene).await, ends);
    }
}

async fn resend(scene: &Scene) {
    let mut client = scene.db.store.client().await.unwrap();
    let resent = settle(&mut client, scene.campaign, None, Resolution::Resend).await;
    assert_eq!(resent.unwrap(), Settled::Messages(1));
    assert_eq!(status(scene).await, CampaignStatus::InProgress);
}
