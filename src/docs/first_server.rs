//! A first server: from nothing to a restart that one can see, and what to do when something looks wrong.
//!
//! # The server
//!
//! ```toml
//! [dependencies]
//! axum = "0.8"
//! heirloom = "0.1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! tracing-subscriber = "0.3"
//! ```
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, heirloom::http::RunError> {
//!     tracing_subscriber::fmt::init(); // shows what heirloom does
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     heirloom::http::run("127.0.0.1:8080", router).await
//! }
//! ```
//!
//! `main` returns what `run` gives: the exit status says whether connections had to be aborted. Without a
//! `tracing` subscriber the program works as well; then warnings and errors go to standard error, one line
//! each, and the steps of a restart are not shown.
//!
//! # A restart
//!
//! ```console
//! $ cargo run &
//! INFO heirloom{generation=1}: accepting generation=1
//! $ kill -USR2 $(pgrep -x hello)
//! INFO heirloom{generation=1}: signal signal=SIGUSR2 reaction=Restart
//! INFO heirloom{generation=1}: restart: starting a successor
//! INFO heirloom{generation=1}: successor started pid=9082 after=2.8ms
//! INFO heirloom{generation=1}: successor ready pid=9082 after=5.3ms
//! INFO heirloom{generation=2}: accepting generation=2
//! INFO heirloom{generation=1}: successor settled pid=9082 after=1.0s
//! INFO heirloom{generation=1}: draining connections=0 within=60s
//! INFO heirloom{generation=1}: ended reason=Restart
//! ```
//!
//! The same by `heirloom restart --pid PID` ([`command`](super::command)), which waits for the outcome and
//! has it as its exit status. `kill` returns 0 for a restart that then fails.
//!
//! # In a terminal's foreground
//!
//! A server that was started in the foreground (`cargo run` without `&`) gives the prompt back at its first
//! restart, as if it had ended: the shell waited for the old process, and that is gone. The new one serves on
//! in the background, under the process id that the log names, and Ctrl-C does not reach it; nor does it hear
//! when the terminal is closed, since the shell does not know it. `heirloom run --ready heirloom --
//! target/debug/hello` stays in the foreground; with `--watch target/debug/hello` it restarts after each
//! `cargo build` ([`any_server`](super::any_server#while-you-write-it)).
//!
//! # Break it
//!
//! An address that is none, a panic in `main`, an empty file in the binary's place, a process that never gets
//! ready: each time the old process serves on, says why in its log, and the next restart works.
//!
//! # Then
//!
//! A handler that runs for as long as its connection (a WebSocket, an event stream) has to hear of the
//! restart: [one line](super::around#websockets-and-event-streams). What the program keeps in memory is gone
//! with the old process unless it is [handed down](super::state).
//!
//! ---
//!
//! Next: [`around`](super::around).
