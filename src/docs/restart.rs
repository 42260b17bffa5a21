//! A restart, step by step.
//!
//! ```text
//!  predecessor                          successor
//!      │ 1 HUP, USR2, `heirloom restart`
//!      │ 2 spawn ──────────────────────▶ │ 3 takes the sockets
//!      │   serves                        │ 4 initialises (may ask for state)
//!      │ ◀────────────────────── 5 READY │
//!      │ 6 stops accepting               │   connections wait in the kernel
//!      │   COMMIT ─────────────────────▶ │ 7 accepts
//!      │                                 │
//!      │ 8 probation: watches            │   serves
//!      │                                 │
//!      │ 9 SETTLED ────────────────────▶ │   is the service
//!      │ 10 drains: idle connections ══▶ │   serves them on
//!      │    requests in flight finish    │
//!      ▼ 11 exit 0                       ▼
//! ```
//!
//! 1. **The trigger.** If a successor is on its way already, one more restart is remembered for later (G4).
//! 2. **The spawn.** The program's own path is executed anew, as it was named at the first start, so that a
//!    new file there is the new version. Listening sockets are at fd 3 and up; an environment variable
//!    announces them.
//! 3. **Taking over.** The successor checks each descriptor (is it that socket, does it listen there?).
//!    [`Restarter::listen`](crate::Restarter::listen) then finds its socket instead of binding one.
//! 4. **Initialisation** takes what it takes, up to the start timeout. The predecessor serves meanwhile.
//! 5. **READY** is said by [`run`](crate::Restarter::run) or [`ready`](crate::Restarter::ready). A successor
//!    that fails, dies or is too slow before that changes nothing (G3).
//! 6. **COMMIT.** First the predecessor stops accepting, then it says so. For some microseconds nobody
//!    accepts; connections wait in the socket's queue, which both have (G1).
//! 7. **Accepting.** [`Listener::accept`](crate::Listener::accept) begins to give connections.
//! 8. **Probation.** If the successor dies or freezes now, the predecessor accepts again: a restart that is
//!    *taken back*. It serves its own connections all the time.
//! 9. **Settling.** systemd, the pid file and the control socket's path follow. From now on the successor is
//!    the one to restart and to stop.
//! 10. **Draining.** [`draining`](crate::Restarter::draining) resolves. [Connections](super::connections)
//!     move, finish, or are told to close (G2).
//! 11. **The end.** When the last connection is gone, or the drain deadline has passed, `run` returns and
//!     `main` with it.
//!
//! If either side is killed at any of these steps, the other serves: a test does that at each step
//! (`src/handover/interleavings.rs` for every order of events, `tests/chaos/main.rs` with real processes).
//!
//! Under a [supervisor](super::supervisor) the parent is the one that is triggered, spawns, watches and
//! decides; the two workers exchange connections and state.
//!
//! ---
//!
//! Before: [`frameworks`](super::frameworks). Next: [`deadlines`](super::deadlines).
