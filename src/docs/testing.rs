//! Testing your own server, without forking and with.
//!
//! # In one process
//!
//! [`Builder::detached`](crate::Builder::detached) makes a restarter that touches nothing that belongs to
//! the process: no environment, no signal, no pid file, no control socket. There may be many at once, one
//! for each test. Listeners are bound (take port 0), connections are counted and drained as usual, and
//! [`shutdown`](crate::Restarter::shutdown) ends the server as TERM would. A restart is refused.
//!
//! Give `main`'s work a function of its own that takes the restarter. Here the test is `main`, so that it
//! can be run as it stands; it tests that a request that is in flight when the server is told to stop is
//! answered:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use heirloom::{Address, Ending, Restarter};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::sync::oneshot;
//!
//! /// The program.
//! async fn serve(
//!     restarter: Restarter,
//!     bound: oneshot::Sender<Address>,
//! ) -> Result<Ending, Box<dyn std::error::Error + Send + Sync>> {
//!     let listener = restarter.listen("127.0.0.1:0")?;
//!     let _ = bound.send(listener.local_addr().clone());
//!     let slow = || async {
//!         tokio::time::sleep(Duration::from_millis(200)).await;
//!         "done"
//!     };
//!     heirloom::http::serve(listener, Router::new().route("/slow", get(slow)));
//!     Ok(restarter.run().await?)
//! }
//!
//! /// The test: #[tokio::test] instead.
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let restarter = Restarter::builder().detached()?;
//!     let (bound, address) = oneshot::channel();
//!     let running = tokio::spawn(serve(restarter.clone(), bound));
//!     // The program itself says when it is ready.
//!     restarter.accepting().await?;
//!     let mut client = tokio::net::TcpStream::connect(address.await?.to_string()).await?;
//!     client.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await?;
//!     // It is in flight when the server has counted it.
//!     while restarter.tracker().count() == 0 {
//!         tokio::task::yield_now().await;
//!     }
//!     let ending = restarter.shutdown(None).await;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).await?;
//!     assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
//!     assert_eq!(ending.exit_status(), 0);
//!     running.await??;
//!     Ok(())
//! }
//! ```
//!
//! What hears [`draining`](crate::Restarter::draining) at a restart hears it at a stop as well, so a
//! handler's goodbye can be tested in this way.
//!
//! # With a real restart
//!
//! What one process cannot show is the next version: state that it must read, an address that it does not
//! have. Start the binary that cargo has built (`env!("CARGO_BIN_EXE_server")` in an integration test), wait
//! for a line that says where it listens, begin a request, run `heirloom restart --pid PID` and look at its
//! exit status, finish the request, and stop it with `heirloom stop --pid PID`. In a container or on a desk,
//! clients that count are worth more than clients that retry: a retry hides what is to be found.
//! [`prove`](super::prove) has such clients.
//!
//! ---
//!
//! Before: [`observing`](super::observing). Next: [`prove`](super::prove).
