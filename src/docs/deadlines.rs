//! Choosing deadlines: what each of them is for, who waits, and when to change it.
//!
//! | deadline | default | what happens then | longer | shorter |
//! |---|---|---|---|---|
//! | [`start_timeout`](crate::Builder::start_timeout) | 60 s | the successor is killed, the old process serves on | for a start that loads much | for an operator who wants to know soon |
//! | [`probation`](crate::Builder::probation) | 1 s | the restart settles | where versions die of rare requests | where old connections are to leave old code at once; 0 turns it off |
//! | [`drain_timeout`](crate::Builder::drain_timeout) | 60 s | what is left of the old process is aborted | for long downloads: it costs memory alone | where old code must go |
//! | [`upgraded_timeout`](crate::Builder::upgraded_timeout) | as the drain | upgraded connections (WebSockets) are aborted | | where they do not listen to the drain |
//! | [`shutdown_timeout`](crate::Builder::shutdown_timeout) | 9 s | what is left is aborted, the service ends | with a longer `TimeoutStopSec=`, `docker stop --time`, `terminationGracePeriodSeconds` | |
//! | [`idle_linger`](crate::Builder::idle_linger) | 2 s | an idle connection that cannot move is closed | for clients with round trips of more than a second | in tests |
//! | [`shutdown_notice`](crate::Builder::shutdown_notice) | 0 | accepting stops | behind a load balancer: as long as it takes to notice | |
//! | [`state_timeout`](crate::Builder::state_timeout) | 10 s | the successor starts without the state | for gigabytes | |
//!
//! What fits together:
//!
//! * `shutdown_notice` + `shutdown_timeout` + a second is less than what the service manager waits before it
//!   kills. A container has 10 s unless it says otherwise.
//! * The start timeout of a [supervisor](super::supervisor)'s workers, and systemd's `TimeoutStartSec=`, hold
//!   what the initialisation takes on a machine that has just booted.
//! * A load balancer's idle timeout for kept connections is below the server's
//!   (`http::Config::keep_alive_timeout`), or it sends requests to connections that the server closes.
//! * A restart takes the time to READY and the probation. Whoever restarts more often than that gets every
//!   other one: two at once are one (G4).
//!
//! Every wait has such a bound (G5), and a second TERM, or `heirloom hammer`, ends all of them.
//!
//! ---
//!
//! Before: [`restart`](super::restart). Next: [`connections`](super::connections).
