//! What the programs here have in common: the answer, which is the number of the process, how long a drain may take, and
//! what they want of hyper.
use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};

/// As hyper's guide to a graceful end has it. It is less than what scripts/bench/peers allows a restart.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Without it hyper forgets a client that has ended its own direction and waits, with a restart or without.
#[must_use]
pub fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.half_close(true);
    builder
}

/// Takes what was sent, and says who answers.
///
/// # Errors
///
/// None.
pub async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // One that sends a body must not find the connection closed before its end.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Full::from(std::process::id().to_string())))
}
