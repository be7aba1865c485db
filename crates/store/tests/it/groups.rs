//! What a group of claims and conclusions writes where its rows differ, and again.

use models::ids::CampaignId;
use models::message::{MessageKey, MessageStatus};
use models::phone::PhoneNumber;
use store::GenericClient as _;
use store::campaigns;
use store::ledger::{Claim, Conclusion, Outcome};

use crate::fixture;
use crate::ledger::{Scene, again, cause, scene, sent};

async fn receipts(scene: &Scene) -> Vec<String> {
    let client = scene.db.store.client().await.unwrap();
    let sql = "SELECT message_id FROM receipts ORDER BY 1";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_message_keeps_its_id_and_its_receipt_however_often_it_is_tried() {
    let scene = scene(2).await;
    scene.claim_by(0, "A").await;
    for forgotten in [false, true] {
        scene.write(&[scene.conclusion(0, again(false))], &[]).await;
        if forgotten {
            scene.sql("DELETE FROM receipts").await;
        }
        let claim = Claim {
            message_id: Some("B".to_owned()),
            ..scene.claim(0)
        };
        let claimed = scene.write(&[], &[claim]).await.claimed.remove(0).unwrap();
        assert_eq!(claimed.message_id.as_deref(), Some("A"));
        assert_eq!(receipts(&scene).await, ["A"]);
    }
    let client = scene.db.store.client().await.unwrap();
    let waiting = client.query("SELECT FROM retries", &[]).await.unwrap();
    assert_eq!(waiting.len(), 0, "it waits no longer");
}

/// What only some of a group say must be theirs.
#[tokio::test]
async fn each_outcome_of_a_group_is_its_own_message_s() {
    let scene = scene(1).await;
    let refused = Outcome::Failed(cause("not_on_whatsapp"));
    let outcomes = [sent(), again(true), sent(), again(false), refused];
    let mut people: Vec<(PhoneNumber, CampaignId)> = Vec::new();
    for n in 2..6 {
        let phone = fixture::phone(n);
        fixture::session(&scene.db, scene.tenure.worker, &phone).await;
        let campaign = fixture::campaign(&scene.db, &phone, 2).await;
        people.push((phone, campaign));
    }
    people.push((fixture::phone(1), scene.campaign));
    let claims = people.iter().map(|(phone, campaign)| Claim {
        phone: phone.clone(),
        key: key(*campaign),
        ..scene.claim(0)
    });
    let claims: Vec<_> = claims.collect();
    let claimed = scene.write(&[], &claims).await.claimed;
    assert!(claimed.iter().all(Option::is_some));
    let conclusions = people
        .iter()
        .zip(outcomes)
        .map(|((phone, campaign), outcome)| Conclusion {
            phone: phone.clone(),
            key: key(*campaign),
            ..scene.conclusion(0, outcome)
        });
    let conclusions: Vec<_> = conclusions.collect();
    let concluded = scene.write(&conclusions, &[]).await.concluded;
    assert!(concluded.iter().all(Option::is_some));
    let client = scene.db.store.client().await.unwrap();
    let mut found = Vec::new();
    for (phone, campaign) in &people {
        let messages = campaigns::messages(&client, *campaign, None, -1, 1).await;
        let message = messages.unwrap().remove(0);
        let rests = "SELECT resting_until IS NOT NULL FROM senders WHERE phone = $1";
        let row = client.query_one(rests, &[&phone.digits()]).await.unwrap();
        let rests: bool = row.get(0);
        found.push((message.status, message.attempts, message.error_code, rests));
    }
    let later = || Some("later".to_owned());
    let wanted = [
        (MessageStatus::Sent, 1, None, false),
        (MessageStatus::Pending, 0, later(), true),
        (MessageStatus::Sent, 1, None, false),
        (MessageStatus::Pending, 0, later(), false),
        (
            MessageStatus::Failed,
            1,
            Some("not_on_whatsapp".to_owned()),
            false,
        ),
    ];
    assert_eq!(found, wanted);
}

/// A replica that had a lane, lost it and has it again may still hold what is of its first time.
#[tokio::test]
async fn only_the_rows_of_lanes_that_are_still_ours_are_written() {
    let scene = scene(2).await;
    let other = fixture::worker(&scene.db).await;
    let lost = fixture::phone(2);
    fixture::session(&scene.db, other, &lost).await;
    let campaign = fixture::campaign(&scene.db, &lost, 2).await;
    let first = fixture::take(&scene.db, scene.replica, &lost).await;
    let of_lost = |ordinal, tenure| Claim {
        tenure,
        phone: lost.clone(),
        key: MessageKey { campaign, ordinal },
        ..scene.claim(0)
    };
    let claims = [of_lost(0, first), scene.claim(0)];
    let claimed = scene.write(&[], &claims).await.claimed;
    assert!(claimed.iter().all(Option::is_some));
    let again = "UPDATE lanes SET epoch = epoch + 1 WHERE worker_id =
        (SELECT worker_id FROM sessions ORDER BY phone DESC LIMIT 1)";
    scene.sql(again).await;
    let conclusions = [
        Conclusion {
            tenure: first,
            phone: lost.clone(),
            key: key(campaign),
            claimed_on: other,
            ..scene.conclusion(0, sent())
        },
        scene.conclusion(0, sent()),
    ];
    let written = scene
        .write(&conclusions, &[of_lost(1, first), scene.claim(1)])
        .await;
    let concluded = written.concluded.iter().map(Option::is_some);
    assert_eq!(concluded.collect::<Vec<_>>(), [false, true]);
    let claimed = written.claimed.iter().map(Option::is_some);
    assert_eq!(claimed.collect::<Vec<_>>(), [false, true]);
}

fn key(campaign: CampaignId) -> MessageKey {
    MessageKey {
        campaign,
        ordinal: 0,
    }
}
