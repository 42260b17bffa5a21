//! What a server can do with heirloom, besides being restarted.
//!
//! The first steps are on the [front page](crate). This chapter lists the rest, with the place to read on.
//!
//! # Starting, restarting, stopping
//!
//! * **Initialisation that can fail:** [`Restarter::check`](crate::Restarter::check) prints the reason in the
//!   *old* process's log as well.
//! * **From code:** [`Restarter::restart`](crate::Restarter::restart) tells the outcome.
//!   [`Restarter::shutdown`](crate::Restarter::shutdown) tells what it had to abort.
//!   [`Restarter::events`](crate::Restarter::events) tells what happens.
//! * **Signals:** [`SignalMap`](crate::SignalMap) changes which signal does what, with hooks before and
//!   after. [`SignalMap::endless`](crate::SignalMap::endless) is the map of Go's endless.
//! * **A terminal:** when it is closed, the server that was started on it stops gracefully. Under `nohup`,
//!   SIGHUP does nothing and USR2 restarts.
//! * **Load balancers:** [`Builder::shutdown_notice`](crate::Builder::shutdown_notice) and
//!   [`Restarter::is_ready`](crate::Restarter::is_ready) let them notice a stop before it begins.
//! * **"Why is the old process still there?"** [`Restarter::status`](crate::Restarter::status) answers it,
//!   and so does a line in the log every second.
//! * **Deadlines:** start 60 s, probation 1 s, drain 60 s, shutdown 9 s, idle linger 2 s.
//!   [`Builder`](crate::Builder) gives the reason for each.
//! * **A pid file:** [`Builder::pid_file`](crate::Builder::pid_file) is written atomically, owned by a lock,
//!   rewritten at each restart, and removed by the last process. systemd follows it through `PIDFile=`, and
//!   so does anything else that reads one.
//!
//! # What goes to the successor
//!
//! * **Descriptors:** [`Restarter::hand_down`](crate::Restarter::hand_down) gives the successor named
//!   descriptors of any kind.
//! * **State:** see [`state`](super::state).
//! * **Raw connections:** [`Connection::move_on`](crate::drain::Connection::move_on) moves one with its
//!   session (`examples/echo.rs`).
//! * **HTTP/1 connections** move by themselves. What a service keeps for one goes with it (`http::Baggage`),
//!   or makes the connection stay.
//!
//! # HTTPS
//!
//! With the feature `tls`, each generation reads the certificates anew. It goes on with the session ticket
//! keys of the generation before it, so that clients resume their sessions instead of making full handshakes.
//!
//! HTTP/1 connections over TLS 1.3 move like those without TLS, with their keys: a client that keeps its
//! connection makes one handshake, however many restarts there are. `tls::Tls::move_connections(false)` turns
//! that off. The module `tls` says what it costs, and what does not move.
//!
//! # Tests of the program itself
//!
//! [`Builder::detached`](crate::Builder::detached) makes a restarter that touches nothing that belongs to the
//! process.
