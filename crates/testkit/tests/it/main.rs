//! The test kit itself, against real servers.

use std::time::Duration;

use testkit::{database, eventually, free_port, vhost};

#[tokio::test]
async fn databases_are_apart_and_gone_afterwards() {
    let (one, two) = tokio::join!(database(), database());
    let make = "CREATE TABLE only_here ()";
    one.client().await.batch_execute(make).await.unwrap();
    two.client().await.batch_execute(make).await.unwrap();
    let gone = one.direct_url.clone();
    drop(one);
    assert!(
        tokio_postgres::connect(&gone, tokio_postgres::NoTls)
            .await
            .is_err()
    );
    two.store.ping().await.unwrap();
}

#[tokio::test]
async fn a_vhost_is_there_and_gone_afterwards() {
    let vhost = vhost().await;
    let path = format!("vhosts/{}", vhost.name());
    let there = vhost.manage(reqwest::Method::GET, &path, "").await;
    assert!(there.status().is_success());
}

#[tokio::test]
#[should_panic(expected = "in vain for: a sign")]
async fn waiting_has_a_bound() {
    eventually("a sign", Duration::from_millis(50), async || None::<()>).await;
}

#[tokio::test]
async fn waiting_gives_what_came() {
    let mut looks = 0;
    let came = eventually("three looks", Duration::from_secs(5), async || {
        looks += 1;
        (looks == 3).then_some(looks)
    });
    assert_eq!(came.await, 3);
    assert_ne!(free_port(), 0);
}
