//! HTTP: from a raw request to the worker or control call that it is for.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::web::{Data, Payload, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tracing::error;

use crate::StartError;
use crate::answer::{Answer, Failure};
use crate::control;
use crate::route::{self, Req};
use crate::sim::{Cx, Sim, Stamp, Worker};

/// Bytes of a JSON body that WAHA takes.
const BODY_MAX: usize = 50 << 20;
/// Bytes of a too large body that are read and dropped, so that its sender hears the answer.
const DRAIN_MAX: usize = 4 * BODY_MAX;

/// How long an idle connection is kept, asked on before or not: longer than tests' clients keep
/// theirs (90 s), so that no request of theirs meets the closing. Node, which WAHA runs on, closes
/// it after 5 s: a client of WAHA must not reuse one that is older.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// Connections that may wait to be accepted: a sender speaks to thousands of our workers at once.
const BACKLOG: u32 = 4_096;

/// Listens on 127.0.0.1 and tells the port.
pub(crate) fn listen(port: u16) -> Result<(TcpListener, u16), StartError> {
    let cause = |cause| StartError::Listen { port, cause };
    let listener = try_listen(port).map_err(cause)?;
    let bound = listener.local_addr().map_err(cause)?.port();
    Ok((listener, bound))
}

fn try_listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // A worker that comes back takes its own port again.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves HTTP on a listener until its handle is stopped.
pub(crate) fn open(
    sim: &Arc<Sim>,
    listener: TcpListener,
    threads: usize,
) -> Result<ServerHandle, StartError> {
    let data = Data::from(Arc::clone(sim));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .default_service(web::to(serve))
    });
    let server = server
        .workers(threads)
        .max_connections(100_000)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(KEEP_ALIVE)
        .disable_signals()
        .listen(listener)
        .map_err(|cause| StartError::Listen { port: 0, cause })?
        .run();
    let handle = server.handle();
    sim.runtime.spawn(server);
    Ok(handle)
}

/// Closes a worker's own port, so that connections are refused. Nothing where it has none.
pub(crate) async fn close(worker: &Worker) {
    if let Some(handle) = worker.server.lock().await.take() {
        handle.stop(false).await;
    }
}

/// Opens a worker's own port again.
pub(crate) async fn reopen(cx: &Cx) {
    let Some(port) = cx.worker().own_port else {
        return;
    };
    let mut server = cx.worker().server.lock().await;
    if server.is_some() || cx.sim.is_stopped() {
        return;
    }
    match listen(port).and_then(|(listener, _)| open(&cx.sim, listener, 1)) {
        Ok(handle) => *server = Some(handle),
        Err(error) => error!(port, "worker's own port stays closed: {error}"),
    }
}

/// Where a request goes.
enum Target {
    Worker(Cx),
    Control(Cx, String),
    /// `GET /control/heard`: all workers.
    Heard,
    Nobody,
}

/// The only actix handler.
pub(crate) async fn serve(request: HttpRequest, payload: Payload, sim: Data<Sim>) -> HttpResponse {
    let arrived = sim.clock.stamp();
    let sim = sim.into_inner();
    if sim.is_stopped() {
        return Answer::Drop.into_response();
    }
    let port = request.app_config().local_addr().port();
    let (target, path) = target(&sim, port, request.path());
    if let Target::Worker(cx) = &target
        && let Some(answer) = route::admit(cx)
    {
        return answer.into_response();
    }
    let (body, unreadable) = read_body(&request, payload).await;
    let req = read(&request, path, (body, arrived));
    let answer = match target {
        Target::Worker(cx) => route::answer(&cx, req, unreadable).await,
        Target::Control(..) | Target::Heard if unreadable.is_some() => {
            Answer::Json(400, json!({"error": "the body is not JSON"}))
        }
        Target::Control(cx, call) => control::of_worker(&cx, &req, &call),
        Target::Heard => control::heard(&sim, &req, None),
        Target::Nobody => Answer::Json(404, json!({"error": "no worker has this address"})),
    };
    answer.into_response()
}

/// Who a path is for, and the path below that worker's base URL.
fn target(sim: &Arc<Sim>, port: u16, path: &str) -> (Target, String) {
    if let Some(number) = sim.ports.get(&port) {
        let target = Cx::new(sim, *number).map_or(Target::Nobody, Target::Worker);
        return (target, path.to_owned());
    }
    let mut parts = path.splitn(4, '/').skip(1);
    let (area, number) = (parts.next(), parts.next().unwrap_or_default());
    let rest = parts.next().unwrap_or_default();
    let cx = number.parse().ok().and_then(|number| Cx::new(sim, number));
    let target = match (area, cx) {
        (Some("w"), Some(cx)) => Target::Worker(cx),
        (Some("control"), Some(cx)) => Target::Control(cx, rest.to_owned()),
        (Some("control"), None) if number == "heard" => Target::Heard,
        _ => Target::Nobody,
    };
    (target, format!("/{rest}"))
}

fn read(request: &HttpRequest, path: String, (body, arrived): (Value, Stamp)) -> Req {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let query: HashMap<String, String> = Query::from_query(request.query_string())
        .map(Query::into_inner)
        .unwrap_or_default();
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(percent_decoded)
        .collect();
    Req {
        method: request.method().as_str().to_owned(),
        parts,
        path,
        query,
        key: header("x-api-key").map(str::to_owned),
        wants_json: header(ACCEPT.as_str()).is_some_and(|kind| kind.contains("application/json")),
        body,
        arrived,
    }
}

/// The JSON body, `{}` when there is none, and what is wrong with it.
async fn read_body(request: &HttpRequest, mut payload: Payload) -> (Value, Option<Failure>) {
    let mut bytes = Vec::new();
    let mut size = 0;
    while let Some(chunk) = payload.next().await {
        let Ok(chunk) = chunk else {
            return (json!({}), Some(Failure::Drop));
        };
        size += chunk.len();
        if size <= BODY_MAX {
            bytes.extend_from_slice(&chunk);
        } else if size > DRAIN_MAX {
            break;
        }
    }
    if size > BODY_MAX {
        let failure = Failure::uncaught("PayloadTooLargeError", "request entity too large");
        return (json!({}), Some(failure));
    }
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if bytes.is_empty() || !kind.is_some_and(|kind| kind.contains("json")) {
        return (json!({}), None);
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(body @ (Value::Object(_) | Value::Array(_))) => (body, None),
        Ok(_) => (
            json!({}),
            Some(Failure::nest(400, "Unexpected token in JSON at position 0")),
        ),
        Err(error) => (
            json!({}),
            Some(Failure::nest(
                400,
                format!("Unexpected token in JSON: {error}"),
            )),
        ),
    }
}

fn percent_decoded(part: &str) -> String {
    if !part.contains('%') {
        return part.to_owned();
    }
    let bytes = part.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = part.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let (byte, width) = match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (byte, 3),
            None => (bytes[at], 1),
        };
        decoded.push(byte);
        at += width;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_percent_decoded() {
        let table = [
            ("a", "a"),
            ("true_1%40c.us_A", "true_1@c.us_A"),
            ("%zz%4", "%zz%4"),
        ];
        for (given, decoded) in table {
            assert_eq!(percent_decoded(given), decoded);
        }
    }
}
