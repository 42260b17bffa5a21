//! The proof of the machines: every order of events, with either side killed, stopped, hung or frozen at
//! every step.
//!
//! [`world`] is a model of the kernel and of the processes: messages come in order and outlive their sender,
//! a death is seen only behind everything that the dead one said, and between anything and its delivery any
//! amount of anything else may happen. [`driver`] carries the machines' actions out, as the real driver does,
//! and keeps what [`handover`](super) says that it owes them. [`walk`] goes through all orders breadth first,
//! with no clock: any deadline may pass at any time, so that every choice of time limits and every process
//! that is slow or stopped by a debugger is among them. [`schedules`] draws long random orders beyond the
//! walk's depth, with a clock.
//!
//! What [`invariants`] checks after every step:
//!
//! * **G1** As long as nobody asked the service to stop, and the last process that could serve was not
//!   killed, a live process that is not on its way out holds the listening sockets.
//! * **G2** The hammer falls at the drain's deadline or at the second request to the same process; a TERM to
//!   both sides, each of which also hears of it from the other, is one request to each.
//! * **G4** A process that has a successor, or one on its way, starts none; at most one process accepts.
//!   (With an accept loop that cannot be paused those are two, through probation.)
//! * A trigger that was remembered is given on with SETTLED, or acted on; nobody settles while one is owed.
//!   (Except by a predecessor so long silent that its successor went on without it.)
//! * Who pauses had accepted; who takes back still holds; what was unclaimed is served; nothing is sent or
//!   done after Left or Over, but for the SIGKILL of a child that came to be after its parent's end; no
//!   message is out of turn.
//!
//! And wherever nothing more happens by itself:
//!
//! * **G3** Unless the service was stopped or lost, exactly one process is left. It accepts, holds the
//!   sockets, is the main process for the service manager, owes nothing, has nothing on its way, and starts a
//!   successor when asked.
//! * **G5** It comes to that: no state comes again by itself. After a request to stop nobody is left, and
//!   with the clock, nobody is left after the deadline.
//!
//! One process of each world may freeze, for ever (SIGSTOP): one that thaws is only slow. Then, at rest:
//!
//! * A successor that froze while its predecessor still wanted a word from it is dead, and the predecessor
//!   serves.
//! * A predecessor that froze when its successor accepted leaves that one to go on alone.
//!
//! A successor that is told to stop before it was told to accept is a failure like any other: the service
//! goes on.

mod driver;
mod invariants;
mod schedules;
mod steps;
mod walk;
mod world;
