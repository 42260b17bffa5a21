//! Troubleshooting, by symptom. What is in the log is explained, message by message, in
//! [`messages`](super::messages).
//!
//! # `kill -USR2` ends the process, or nothing happens
//!
//! The program made its restarter with [`Restarter::bare`](crate::Restarter::bare), which handles no signals,
//! or has not made it yet: make it first in `main`. Under `nohup` SIGHUP stays ignored; use USR2. If the log
//! says `this process never said that it is ready`, the program awaits its accept loop before it calls
//! [`run`](crate::Restarter::run): use [`run_with`](crate::Restarter::run_with).
//!
//! # The restart fails
//!
//! `restart failed, serving on`, with the reason: there is no such file, it cannot be executed, the
//! successor exited or panicked or gave up, or was not ready in time. `heirloom restart` shows what the
//! successor wrote to standard error if that is a file. An address in use: a socket cannot go from
//! `0.0.0.0:P` to `127.0.0.1:P` in one restart. A file that is open for writing: put binaries in place by a
//! rename.
//!
//! # A restart is taken back
//!
//! `restart taken back, accepting again`: the new process was ready, and died or froze within the probation.
//! Look for its panic. A program that exits when a port or a database is missing should do so before it is
//! ready, by [`check`](crate::Restarter::check).
//!
//! # A restart is refused
//!
//! `restart refused`. As PID 1, or as the main process of a unit that cannot be told of another, a process
//! may not replace itself: use `heirloom run`, or [`systemd`](super::systemd) with `Type=notify`. A process
//! that drains or stops does not restart: ask the one that serves. A hook may have vetoed it, or restarts
//! are off.
//!
//! # The old version still answers
//!
//! * The restart did not run what you built. The log of the new generation names its process;
//!   `/proc/PID/exe` is its file. A program that was started by a path under a link (`current/server`)
//!   follows the link at each restart; one that was started by the link's target does not.
//! * A connection was kept. It is with the old process until that has settled; see
//!   [`connections`](super::connections).
//! * A framework's own accept loop accepts in both through the probation.
//!
//! # The old process does not go away
//!
//! `heirloom status` names the connections that hold it. Mostly a WebSocket or an event stream whose handler
//! does not hear of the drain: [one line](super::around#websockets-and-event-streams). Or the program does
//! not return from `main` when `run` does; or a blocking task keeps tokio's runtime. `heirloom hammer` ends
//! it now.
//!
//! # Clients see resets or closed connections at a restart
//!
//! Who closes? With `http::serve` connections move, or are told to close. A framework's own loop closes idle
//! ones at its goodbye, and loses what is on its way: give heirloom the service instead
//! ([`around`](super::around)). `the hammer fell`: requests took longer than the [drain
//! deadline](super::deadlines). A proxy in front that keeps connections longer than the server does sends
//! requests to closed ones, restart or not.
//!
//! # The prompt comes back, the container stops, systemd says "inactive"
//!
//! The process that was watched has ended, since another has taken its place. In a terminal:
//! [`first_server`](super::first_server#in-a-terminals-foreground). In a container:
//! [`containers`](super::containers). In a unit: [`systemd`](super::systemd). Anywhere: `heirloom run`.
//!
//! # `heirloom restart` says that there is no control socket
//!
//! The restarter was made by `bare()`, or no directory for it was writable (`there is no place for a control
//! socket; starting without`), or you are another user, or in another mount namespace.
//!
//! # Counts or sessions are lost
//!
//! They changed after the snapshot: [the window](super::state#the-window).
//!
//! # Nothing is in the log
//!
//! Is there a subscriber, and does its filter let the target `heirloom` through? Without one, warnings and
//! errors go to standard error, unless [`warnings_to_stderr`](crate::Builder::warnings_to_stderr) has turned
//! that off.
//!
//! # Descriptors, threads, memory
//!
//! Two processes need the memory of two. Where descriptors (`ulimit -n`), threads (`ulimit -u`, `pids.max`)
//! or memory run out, a restart fails with that reason, the old process serves on, and the next one works
//! when there is room.
//!
//! ---
//!
//! Before: [`prove`](super::prove). Next: [`messages`](super::messages).
