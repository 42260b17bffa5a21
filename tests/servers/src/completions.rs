//! What a language model's API does: a question in the body of a request, and its answer as an event stream.
//!
//! ```text
//! POST /v1/chat/completions?count=N    `data: I PID WORD` N times, for each word of the body, over and over
//!                          [&last=G]   the last of them in generation G at the earliest
//! POST /early?count=N                  the same, begun before the body is there
//! POST /echo                           the body, at once
//! POST /parts                          in how many parts the body came
//! GET  /pid, /begun                    at once; how many completions were begun here, and not gone on with
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::{FutureExt, StreamExt, stream};
use heirloom::http::{Config, Server, Session};
use heirloom::{Ending, Restarter, SignalMap};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut addresses, mut builder) = (Vec::new(), Restarter::bare());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("a value is missing")?;
        match argument.as_str() {
            "--listen" => addresses.push(value),
            "--probation" => builder = builder.probation(humantime::parse_duration(&value)?),
            other => return Err(format!("no option {other}").into()),
        }
    }
    let restarter = builder.signals(SignalMap::default()).start()?;
    GENERATION.store(restarter.generation(), Relaxed);
    let router = Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/early", post(complete_early))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/parts", post(parts))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/begun", get(|| async { BEGUN.load(Relaxed).to_string() }));
    let server = Server::tower(Config::new().move_streams(true), router);
    for address in &addresses {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    Ok(restarter.run().await?)
}

async fn complete(count: RawQuery, Extension(session): Extension<Session>, question: String) -> Response {
    if !session.resumed() {
        BEGUN.fetch_add(1, Relaxed);
    }
    response(Body::from_stream(words(question, Length::asked(&count), session)))
}

/// Its head goes out before the body has come.
async fn complete_early(count: RawQuery, Extension(session): Extension<Session>, body: Body) -> Response {
    let question = axum::body::to_bytes(body, usize::MAX);
    let all = question.map(move |question| {
        let question = String::from_utf8_lossy(&question.unwrap_or_default()).into_owned();
        words(question, Length::asked(&count), session)
    });
    response(Body::from_stream(all.flatten_stream()))
}

async fn parts(body: Body) -> String {
    body.into_data_stream().count().await.to_string()
}

/// What goes to the successor is the number of the last word; the question comes with the request.
fn words(
    question: String,
    length: Length,
    session: Session,
) -> impl stream::Stream<Item = Result<String, Infallible>> + Send {
    let state = session.state().map(String::from_utf8_lossy);
    let said: usize = state.and_then(|state| state.parse().ok()).unwrap_or_default();
    let question: Arc<[String]> = question.split_whitespace().map(str::to_owned).collect();
    stream::unfold(said, move |said| {
        let (session, question) = (session.clone(), question.clone());
        async move {
            if said == length.count {
                return None;
            }
            let is_early = said + 1 == length.count && GENERATION.load(Relaxed) < length.last;
            let due = async {
                match is_early {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            tokio::pin!(due);
            tokio::select! {
                () = &mut due => {}
                () = session.leaving() => {
                    if session.move_on(said.to_string()).await.is_ok() {
                        return None;
                    }
                    due.await;
                }
            }
            let word = &question[said % question.len()];
            Some((Ok(format!("data: {} {} {word}\n\n", said + 1, std::process::id())), said + 1))
        }
    })
}

/// How many words, and from which generation on the last.
#[derive(Clone, Copy)]
struct Length {
    count: usize,
    last: u64,
}

impl Length {
    fn asked(RawQuery(query): &RawQuery) -> Length {
        let query = query.as_deref().unwrap_or_default();
        let value = |name: &str| query.split('&').find_map(|field| field.strip_prefix(name));
        let count = value("count=").and_then(|count| count.parse().ok()).expect("a count");
        Length { count, last: value("last=").map_or(0, |last| last.parse().expect("a generation")) }
    }
}

fn response(body: Body) -> Response {
    Response::builder().header("content-type", "text/event-stream").body(body).expect("a response")
}

static BEGUN: AtomicUsize = AtomicUsize::new(0);
static GENERATION: AtomicU64 = AtomicU64::new(0);
