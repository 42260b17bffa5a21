//! Observing: what a restart says, and where to look.
//!
//! | question | where |
//! |---|---|
//! | Did the restart work? | `heirloom restart`, whose exit status says so ([`command`](super::command)); [`Restarter::restart`](crate::Restarter::restart) in code |
//! | Who serves, since when, how many restarts, why did the last one fail? | `heirloom status`, `--json` for scripts, `--watch` on a screen |
//! | Why is the old process still there? | `heirloom status`: the oldest connections, their peers, conversations over datagrams, and when the hammer falls; a line in the log every second |
//! | What has moved, and what could not? | the line `connections moved`; `heirloom status` |
//! | What happens, as it happens? | [`Restarter::events`](crate::Restarter::events); the log, target `heirloom` |
//! | Is more traffic wanted here? | [`Restarter::is_ready`](crate::Restarter::is_ready), for a readiness probe |
//! | What must I know of a message? | [`messages`](super::messages), [`troubleshooting`](super::troubleshooting) |
//!
//! # The log
//!
//! heirloom logs with `tracing`, within a span that names the generation. A restart makes about twenty lines
//! at level `info`; `EnvFilter` takes `heirloom=warn` to leave them out. Without a subscriber, warnings and
//! errors go to standard error, one line each; with the feature `log`, to a logger of the `log` crate. A log
//! that nobody reads never holds anything up: lines that do not fit are counted.
//!
//! # Metrics
//!
//! The feature `metrics` counts restarts by outcome, time to ready and to settle, drain time, connections
//! open, moved and aborted, and the generation. They go to the recorder of the `metrics` facade that the
//! program installs. The module `heirloom::metrics` has the names, and which of the two processes records
//! what. A supervisor counts for itself what becomes of its workers, dead ones that were replaced included,
//! and lives long enough to be scraped for it.
//!
//! ---
//!
//! Before: [`fetch`](super::fetch). Next: [`testing`](super::testing).
