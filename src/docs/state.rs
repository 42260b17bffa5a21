//! State: what a program hands to its successor, and the window in which it can lose some.
//!
//! | what | how |
//! |---|---|
//! | a cache, a configuration, sessions: a snapshot will do | [`provide_state`](crate::Restarter::provide_state), [`state`](crate::Restarter::state) |
//! | counters, queues, what was said: nothing may be lost | [`provide_final_state`](crate::Restarter::provide_final_state), [`final_state`](crate::Restarter::final_state) |
//! | the state of one connection | it goes with the connection: [`connections`](super::connections) |
//! | files, sockets, memory that both may use | [`hand_down`](crate::Restarter::hand_down), [`inherited_fd`](crate::Restarter::inherited_fd) |
//!
//! # The window
//!
//! ```text
//! old process  ── serves ──┬──────── serves ────────┬── finishes what it holds ──┬ ends
//!                          │ snapshot               │ settled                    │ final state
//! new process              └ starts, takes it ── accepts ────────────────────────┴ takes that too
//!                          ╰─── what the old process changes here is not ───╯
//!                               in the snapshot: it is in the final state
//! ```
//!
//! A snapshot is taken while the old process serves, and it serves on: until the new one is ready, through
//! the probation (it still has its connections), and until its last request is answered. A counter that went
//! by the snapshot alone lost 23 % of what was counted in that time.
//!
//! So either the snapshot is of something that may be a little old, or the program hands down at the end:
//!
//! * **At the end.** [`provide_final_state`](crate::Restarter::provide_final_state) is called when the old
//!   process has handed over and its last connection is gone. Nothing changes after that. The new one works
//!   without it until then, and adds it to what it has: that fits counters, sets, logs, and whatever can be
//!   merged.
//! * **Forward the rest.** Where the new process must have everything at once, it takes the snapshot before
//!   it is ready, and the old one sends each later change through a descriptor that it handed down (a socket
//!   pair, a pipe), and what is left at the end.
//! * **Wait.** Where a read must not miss a write, the new process answers nothing before it has the final
//!   state. Take a short probation and a short drain deadline then: that is how long clients may wait.
//!   `examples/frameworks/` has such a program, a server of Redis's protocol.
//! * **Share.** What both may change at the same time belongs where both can: a database, a memory-mapped
//!   file whose descriptor is handed down.
//!
//! # A counter that loses nothing
//!
//! ```no_run
//! use std::io::Write;
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use axum::{Router, routing::get};
//! use heirloom::Restarter;
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:8080")?;
//!     // What this process has counted, and those before it once they have told.
//!     let hits = Arc::new(AtomicU64::new(0));
//!     let (counted, told) = (Arc::clone(&hits), Arc::clone(&hits));
//!     // Asked for before ready: a predecessor without connections may be gone right after.
//!     let before = restarter.final_state("hits");
//!     // This process does not end before it has what is to go on from it.
//!     let hold = restarter.hold();
//!     tokio::spawn(async move {
//!         if let Ok(Some(state)) = before.await {
//!             let count = state.as_ref().try_into().map_or(0, u64::from_le_bytes);
//!             counted.fetch_add(count, Ordering::Relaxed);
//!         }
//!         drop(hold);
//!     });
//!     restarter.provide_final_state("hits", 1, move |out| {
//!         out.write_all(&told.load(Ordering::Relaxed).to_le_bytes())
//!     })?;
//!     let count = move || async move { (hits.fetch_add(1, Ordering::Relaxed) + 1).to_string() };
//!     heirloom::http::serve(listener, Router::new().route("/", get(count)));
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! While the old process drains, the new one shows a smaller number. Where that must not be, add the snapshot
//! to what is shown, and not to what is counted.
//!
//! A process that is killed tells nothing: what must survive that belongs on a disk.
//!
//! # What it costs
//!
//! State goes through sealed memory. Beyond the one copy in, a gigabyte costs 4 ms, and twice that beside
//! other load. Nearly all of it is the kernel's sealing.
//! [`Builder::state_limit`](crate::Builder::state_limit) and
//! [`Builder::state_timeout`](crate::Builder::state_timeout) bound it (1 GiB, 10 s). The tag tells a program
//! which version of its format it reads; a successor that does not know it starts without.
//!
//! ---
//!
//! Before: [`connections`](super::connections). Next: [`tls`](super::tls).
