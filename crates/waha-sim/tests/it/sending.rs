//! Points 7, 10, 12 and 15: what sends answer, and what was heard.

use serde_json::{Value, json};
use waha_sim::Engine;

use crate::fleet::{Fleet, options, text, version};
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn each_engine_answers_in_its_own_shape() {
    for engine in [Engine::Noweb, Engine::Gows, Engine::Webjs] {
        let fleet = Fleet::of(engine).await;
        fleet.link(1, "a", json!({})).await;
        let (status, body) = fleet.send(1, "a", "12132132130@c.us").await;
        assert_eq!(status, 201);
        let id = match engine {
            Engine::Noweb => {
                assert_eq!(body["key"]["remoteJid"], "12132132130@s.whatsapp.net");
                assert_eq!(body["message"]["extendedTextMessage"]["text"], "hello");
                assert!(body["messageTimestamp"].is_string() && body["status"] == "PENDING");
                body["key"]["id"].as_str().unwrap().to_owned()
            }
            Engine::Gows => {
                let id = body["id"].as_str().unwrap();
                id.strip_prefix("true_12132132130@c.us_")
                    .unwrap()
                    .to_owned()
            }
            Engine::Webjs => {
                assert_eq!(body["_data"]["id"], body["id"]);
                assert_eq!(body["ack"], 0);
                body["id"]["id"].as_str().unwrap().to_owned()
            }
        };
        assert!(id.starts_with("3EB0") && id.len() == 22, "{id}");
        let heard = fleet.heard().await;
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0]["message_id"], id);
        assert_eq!(
            (&heard[0]["kind"], &heard[0]["text"]),
            (&json!("text"), &json!("hello"))
        );
        assert_eq!(heard[0]["chat"], "12132132130@c.us");
        let at = |name: &str| heard[0][name].as_u64().unwrap();
        assert!(at("arrived_mono_ns") < at("answered_mono_ns"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_validated() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    let (status, body) = fleet.send(1, "a", "+1 213 213 2130").await;
    assert_eq!(status, 201);
    assert_eq!(body["key"]["remoteJid"], "+1 213 213 2130@s.whatsapp.net");
    for bad in [
        json!({"session": "a", "chatId": "1@c.us"}),
        json!({"session": "a", "text": "x"}),
    ] {
        let (status, body) = fleet.call(1, "POST /api/sendText", bad).await;
        assert_eq!(
            (status, &body["exception"]["name"]),
            (500, &json!("TypeError"))
        );
    }
    let number = json!({"session": "a", "chatId": "1@c.us", "text": 7});
    assert_eq!(fleet.call(1, "POST /api/sendText", number).await.0, 500);
    assert_eq!(fleet.heard().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_was_heard_and_a_refused_request_was_not() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let receiver = Receiver::start(&[]);
    fleet.link(1, "a", receiver.config()).await;
    fleet
        .fault(1, json!({"kind": "lost_answer", "count": 1}))
        .await;
    let lost = fleet
        .try_call(1, "POST /api/sendText", text("a", "1@c.us"))
        .await;
    assert!(lost.is_err(), "{lost:?}");
    receiver.until_count("message.any", 1).await;
    receiver.until_count("message.ack", 3).await;

    fleet
        .fault(1, json!({"kind": "error_500_timed_out", "count": 1}))
        .await;
    let (status, body) = fleet.send(1, "a", "2@c.us").await;
    assert_eq!(
        (status, &body["exception"]["message"]),
        (500, &json!("Timed Out"))
    );
    assert_eq!(body["exception"]["output"]["statusCode"], 408);

    let undelivered = json!({"kind": "error_500_timed_out", "count": 1, "delivered": false});
    fleet.fault(1, undelivered).await;
    assert_eq!(fleet.send(1, "a", "3@c.us").await.0, 500);
    fleet
        .fault(1, json!({"kind": "connection_closed", "count": 1}))
        .await;
    let (status, body) = fleet.send(1, "a", "4@c.us").await;
    assert_eq!(
        (status, &body["exception"]["message"]),
        (500, &json!("Connection Closed"))
    );
    fleet.fault(1, json!({"kind": "refuse", "count": 1})).await;
    assert!(
        fleet
            .try_call(1, "POST /api/sendText", text("a", "5@c.us"))
            .await
            .is_err()
    );
    fleet
        .fault(1, json!({"kind": "bad_gateway", "count": 1}))
        .await;
    assert_eq!(fleet.send(1, "a", "6@c.us").await.0, 502);

    let heard = fleet.heard().await;
    let chats: Vec<&str> = heard
        .iter()
        .map(|entry| entry["chat"].as_str().unwrap())
        .collect();
    assert_eq!(chats, ["1@c.us", "2@c.us"]);
    assert_eq!(heard[0]["answered_mono_ns"], Value::Null);
    assert!(heard[1]["answered_mono_ns"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_id_is_honoured_from_2026_4_3_on() {
    let table = [
        ("2026.8.2", Engine::Noweb, true),
        ("2026.8.2", Engine::Gows, true),
        ("2026.8.2", Engine::Webjs, false),
        ("2026.2.1", Engine::Noweb, false),
    ];
    for (text, engine, honoured) in table {
        let fleet = Fleet::start(version(options(engine), text)).await;
        fleet.link(1, "default", json!({})).await;
        let (status, fresh) = fleet
            .call(1, "GET /api/default/new-message-id", Value::Null)
            .await;
        assert_eq!(status == 200, honoured, "{text} {engine:?}");
        let id = fresh["id"].as_str().unwrap_or("3EB0AAAAAAAAAAAAAAAAAA");
        let body = json!({"session": "default", "chatId": "1@c.us", "text": "x", "id": id});
        fleet.call(1, "POST /api/sendText", body).await;
        assert_eq!(
            fleet.heard().await[0]["message_id"] == id,
            honoured,
            "{text} {engine:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_fetched_from_loopback_and_its_errors_are_axios_ones() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    let send = |file: Value| {
        let body = json!({"session": "a", "chatId": "1@c.us", "caption": "look", "file": file});
        fleet.call(1, "POST /api/sendImage", body)
    };
    let (status, body) = send(json!({"mimetype": "image/png", "data": "AAAA"})).await;
    assert_eq!(status, 201);
    assert_eq!(body["message"]["imageMessage"]["caption"], "look");
    assert_eq!(send(json!({"mimetype": "image/png"})).await.0, 422);
    assert_eq!(send(Value::Null).await.0, 500);

    let there = format!("{}/ping", fleet.running.worker_url(1));
    assert_eq!(
        send(json!({"mimetype": "image/png", "url": there})).await.0,
        201
    );
    let outside = json!({"mimetype": "image/png", "url": "https://cdn.example.com/a.png"});
    assert_eq!(send(outside).await.0, 201);
    let absent = format!("{}/nothing", fleet.running.control_url(1));
    let (status, body) = send(json!({"mimetype": "image/png", "url": absent})).await;
    assert_eq!((status, &body["exception"]["status"]), (500, &json!(404)));
    assert_eq!(body["exception"]["name"], "AxiosError");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = json!({"mimetype": "image/png", "url": format!("http://{closed}/x.png")});
    let (status, body) = send(refused).await;
    assert_eq!(
        (status, &body["exception"]["code"]),
        (500, &json!("ECONNREFUSED"))
    );

    let heard = fleet.heard().await;
    assert_eq!(heard.len(), 3);
    assert_eq!(
        (&heard[0]["kind"], &heard[0]["text"]),
        (&json!("image"), &json!("look"))
    );
    assert_eq!(heard[2]["media"]["url"], "https://cdn.example.com/a.png");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_can_be_looked_up_where_there_is_a_store() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "bare", json!({})).await;
    let (status, _) = fleet
        .call(
            1,
            "GET /api/bare/chats/1@c.us/messages?limit=5",
            Value::Null,
        )
        .await;
    assert_eq!(status, 400);
    fleet
        .link(1, "a", json!({"noweb": {"store": {"enabled": true}}}))
        .await;
    let (_, body) = fleet.send(1, "a", "1@c.us").await;
    let id = body["key"]["id"].as_str().unwrap();
    let inbound = json!({"session": "a", "from": "1@c.us", "text": "yes"});
    assert_eq!(fleet.control(1, "POST /inbound", inbound).await.0, 201);
    let (_, list) = fleet
        .call(1, "GET /api/a/chats/1%40c.us/messages?limit=5", Value::Null)
        .await;
    assert_eq!(
        (&list[0]["body"], &list[1]["body"]),
        (&json!("yes"), &json!("hello"))
    );
    for form in [id.to_owned(), format!("true_1@c.us_{id}")] {
        let call = format!("GET /api/a/chats/1@c.us/messages/{form}");
        let (status, message) = fleet.call(1, &call, Value::Null).await;
        assert_eq!(
            (status, &message["id"]),
            (200, &json!(format!("true_1@c.us_{id}")))
        );
        assert_eq!(
            (&message["fromMe"], &message["source"]),
            (&json!(true), &json!("api"))
        );
    }
    let call = "GET /api/a/chats/1@c.us/messages/3EB0NOTHING";
    assert_eq!(fleet.call(1, call, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_seen_and_presence_answer_as_recorded() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    let chat = json!({"session": "a", "chatId": "1@c.us"});
    let (status, body) = fleet.call(1, "POST /api/startTyping", chat.clone()).await;
    assert_eq!((status, body), (201, json!({"result": true})));
    assert_eq!(
        fleet.call(1, "POST /api/stopTyping", chat.clone()).await.0,
        201
    );
    assert_eq!(fleet.call(1, "POST /api/sendSeen", chat).await.0, 400);
    let ids = json!({"session": "a", "chatId": "1@c.us", "messageIds": ["x"]});
    assert_eq!(
        fleet.call(1, "POST /api/sendSeen", ids).await,
        (201, Value::Null)
    );
    let online = json!({"presence": "online"});
    assert_eq!(
        fleet.call(1, "POST /api/a/presence", online).await,
        (201, Value::Null)
    );
    let (_, view) = fleet.call(1, "GET /api/sessions/a", Value::Null).await;
    assert_eq!(view["presence"], "online");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_checked() {
    for engine in [Engine::Noweb, Engine::Gows] {
        let fleet = Fleet::of(engine).await;
        fleet.link(1, "a", json!({})).await;
        fleet
            .fault(1, json!({"kind": "not_on_whatsapp", "phones": ["15559"]}))
            .await;
        let check = |phone: &str| format!("GET /api/contacts/check-exists?phone={phone}&session=a");
        let (_, found) = fleet.call(1, &check("15550"), Value::Null).await;
        assert_eq!(
            (&found["numberExists"], &found["chatId"]),
            (&json!(true), &json!("15550@c.us"))
        );
        let (_, absent) = fleet.call(1, &check("15559"), Value::Null).await;
        assert_eq!(absent["numberExists"], false);
        assert_eq!(absent.get("chatId").is_some(), engine == Engine::Gows);
        let (status, _) = fleet.send(1, "a", "15559@c.us").await;
        assert_eq!(status, if engine == Engine::Gows { 500 } else { 201 });
        assert_eq!(fleet.heard().await.len(), 0);
        let nameless = fleet
            .call(1, "GET /api/contacts/check-exists?phone=1", Value::Null)
            .await;
        assert_eq!(nameless.0, 400);
    }
}
