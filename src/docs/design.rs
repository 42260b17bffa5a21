//! Why it is built as it is: the decisions that cost something, and what was weighed.
//!
//! What must hold is in [`guarantees`](crate::guarantees); the protocol is in `src/handover`;
//! how requests are kept is in [`drain`](crate::drain) and `http`. Read this page before you change them.
//!
//! # A thread of its own
//!
//! The driver (`src/restarter/driver/`) runs on one thread with a small runtime of its own, and not as a task
//! among the program's. A handler that blocks the program's workers must not delay a take-back, a stop, or
//! the answer to READY. The thread lives as long as the process, which the restart signals need as well: a
//! successor starts with them blocked, and a signal that every thread blocks stays pending for ever, so one
//! thread that lasts has to unblock them. Programs without a runtime can use the library for the same reason.
//! The price is a thread and an epoll descriptor.
//!
//! The exec runs on yet another thread, which exists for that moment only. `posix_spawn` suspends its caller
//! until the exec, and an exec from a file system that hangs must not keep a stop from being heard. The
//! thread is not made by tokio's `spawn_blocking`, because that panics where no thread can be made. Here that
//! is a failed restart like any other.
//!
//! # COMMIT, and who accepts
//!
//! The successor says READY and accepts nothing; the predecessor stops accepting, *then* says COMMIT. If the
//! successor accepted with READY, a deadline or a TERM that crosses READY would kill clients that the
//! successor has accepted. The gap in which nobody accepts is a few microseconds, and connections wait in the
//! kernel's queue.
//!
//! The driver learns of a death from a pidfd and not from the channel's end, because a helper that a dead
//! successor left behind keeps the channel open. It reads everything that a peer said before it counts that
//! peer's death or a deadline. What else the machines expect of their driver is in
//! `src/handover`.
//!
//! # Signs of life
//!
//! A pidfd reports deaths, and nothing about a process that is stopped. So a successor says ACCEPTING after
//! COMMIT, and once more when it is asked at the end of probation (PROBE). If it does not say so in time, the
//! predecessor kills it, and takes back when it is dead. The order matters: a process that thaws cannot get
//! ahead of SIGKILL, and before that both would accept. READY tells whether a successor knows these words, so
//! a restart into an older release settles as it always did. The last ACCEPTING does not settle by itself:
//! the predecessor first reads what was said after it, and looks for a death.
//!
//! heirloom's thread says ACCEPTING. If the program's own loops were asked, the answer would wait for a
//! handler that may be busy for good reasons, and a slow successor would be taken for a dead one.
//!
//! # The end of probation
//!
//! A successor whose predecessor falls silent (stopped by a debugger, say) goes on alone after a minute. It
//! sends the predecessor SETTLED, so that the predecessor drains when it wakes up, as after any restart.
//! Without that message the predecessor would take the successor's later exit for a death, and would accept
//! again beside the *next* successor.
//!
//! FAILED can cross COMMIT. The predecessor then takes back at once instead of waiting for the exit: a
//! process that exits slowly could outlast probation, and the predecessor would settle on a successor that is
//! gone.
//!
//! A TERM to the whole process group during probation reaches both sides, and each tells the other. That
//! counts as one request to stop and not as two: only a second request to the *same* process makes the hammer
//! fall.
//!
//! # What runs, and where
//!
//! The program is resolved once, at the first generation's start, from the name by which it was called.
//! `/proc/self/exe` would not do: it names the old file after a deploy, and it resolves the `current ->`
//! symlink that a deploy changes. The successor starts in the directory in which the first generation did, by
//! the shell's name for it, so that `cd current && ./server` finds the new release. Both are in the
//! announcement, because a successor cannot find them again once the directory is gone.
//!
//! # Ownership by lock
//!
//! A Unix socket's path and the pid file belong to the process that holds a lock on a file beside them. The
//! successor gets the lock's open file description. The lock ends with the last copy of it, in whatever way
//! its holders end. heirloom does not decide by process ids in files, because the kernel reuses them.
//!
//! # Moving connections
//!
//! A moved connection comes out of the accept loop of the listener that it came from, with the bytes that
//! were read ahead, and is then treated as any accepted connection. There is no second way in and no special
//! service for it. For the same reason HTTP/1 connections move between two requests and not within one. TAKEN
//! is sent before the successor can read; until then the predecessor keeps an untouched duplicate. Only
//! REFUSED or the successor's death gives the connection back to the predecessor. A timeout must not, because
//! the predecessor could not know whether the successor reads already.
//!
//! heirloom polls hyper's HTTP/1 connection as an ordinary future. The service, the response's body and the
//! last flush show when nothing is in flight; then `into_parts` takes the connection out. hyper's own
//! graceful shutdown would announce a close, and it loses the request that is on its way to a connection that
//! has sent nothing yet (hyperium/hyper#3792).
//!
//! # HTTP/2
//!
//! hyper gives back no HTTP/2 connection, and knows none that it has not begun. Both are solved below it
//! (`src/http/h2/`), since a fork of hyper or h2 would have to be kept for ever. What a client believes of a
//! connection is little once no stream is open: settings, two windows, the number of the last stream, and the
//! two tables of header fields. The tables are the only part that cannot be read off the heads of frames, so
//! both are emptied: the client's, by SETTINGS that it has to acknowledge, and hyper's in the successor, by
//! telling it that the client did the same. The rest the successor's hyper is told in HTTP/2's own words, as
//! if a client had sent them. So nothing of hyper's or h2's inside is relied on, except that they keep to the
//! protocol; when they do not, the connection is told to close.
//!
//! New streams are held back while the open ones end, instead of a wait for a moment without any: that never
//! comes on a busy connection. They wait 100 ms at the first try, and anew with each stream that ends, or
//! while answers wait for the client: those to what is held would have to wait as well. What is held goes
//! along with the connection. What clients upload on such streams takes the window of the whole connection,
//! which those that are open need to end; so the client is given as much more. If the try is in vain, hyper
//! gets what was held as far as its own window goes, and what it then gives pays for that.
//!
//! The frames are followed from the first byte, because what has passed cannot be asked for later. In steady
//! state that takes no lock: the tap has all that it knows to itself, and lends it to the task above hyper
//! only while the connection leaves or arrives.
//!
//! # Datagrams
//!
//! A UDP socket has one queue, and nothing in the kernel parts it by conversation without privileges (a BPF
//! program on a group of sockets, and a daemon that keeps its map). So one generation reads, the newest: it
//! is the one that will stay, and what begins is its own. It forwards the rest over a channel to each older
//! generation, which is handed down by name like any descriptor: so a supervisor and a chain of generations
//! need nothing of their own, and no message of the protocol had to be added. An older generation answers
//! on the socket itself, since who writes does not matter to it.
//!
//! The table of conversations goes over when the predecessor has stopped reading and before COMMIT, so no
//! conversation can begin that it does not have. It is in sealed memory, as state is.
//!
//! QUIC (`src/quic/`) needs no table once a connection has begun: its ids are the server's to choose, so
//! they carry the generation. They are checked with a key, because a client's own first ids are random, and
//! one that looked like ours would go to the wrong process. So the newest does not know how many connections
//! an older one has, and is told by it, over the channel for forwarding; not again before it has read that.
//!
//! Sessions for 0-RTT are good once (`src/quic/sessions.rs`), so two generations must never have the same
//! one. State is given while the predecessor still serves; they go with the table instead, in the moment in
//! which nobody reads. Who has given them away has none, also if its successor dies and it reads again.
//!
//! # Lending
//!
//! A framework that serves by itself does not say when it is between two requests, so the bytes have to. What
//! it reads from ends behind each request until that is answered: then its parser's buffer holds nothing of
//! the connection, whatever library it is, and an end can be put there as if the client had left. heirloom's
//! parser is another than the framework's. So it knows less: where two parsers could differ (two lengths, a
//! length beside chunks, a line that goes on the one before), the connection is let through and stays.
//!
//! A framework must not be told to shut down when the drain begins. It would close idle connections at once,
//! and without a successor somebody has to answer the last request on each of them. So it is told when
//! heirloom has taken back the last one. The last word (`Connection: close`) is put into the response's head
//! on its way.
//!
//! HTTP/2 is followed by the same tap as where heirloom serves, which here is led from below, when the
//! framework wants to read. In the successor no answer of the framework's can be made up to bring its view of
//! the client's window down. So the request of the story is one that h2 refuses by itself, and a connection
//! with less window than at its beginning stays.
//!
//! # Turns
//!
//! What the service, the body and the socket of an HTTP/1 connection know is left with the thread for the
//! length of one poll (`src/http/turn.rs`). That is the least plain room of the house. A plainer one gives
//! each future and each body a pointer to the connection's entry, and costs 0.8 % of a request's instructions
//! more. Measured with `scripts/bench-cost.sh`, a request then costs more than with hyper-util's `auto`
//! server, which tracks nothing. So the room stays.
//!
//! # Telling
//!
//! What happens is told in one place (`src/restarter/driver/telling.rs`): to the history, the log, the
//! program's events, the service manager, the metrics and operators, in this order. A step that somebody
//! hears of is in the log, and heirloom's own line does not stand at the end of what a lost successor wrote.
//!
//! # State
//!
//! State goes through a sealed memfd: one copy in, and none out, since the successor maps it. The successor
//! checks the seals before it maps the file, because a file that its owner could still shorten would kill the
//! reader. The program's provider runs on a thread of its own, one call at a time. If it panics or hangs, the
//! successor is told so. A successor gets "no state" if there is no predecessor, if the predecessor has none
//! of that name, or if it is too old to be asked. An error there would make the restart into the first
//! release that asks for state fail.
//!
//! Session ticket keys are such state. rustls's own ticketers keep theirs to themselves, so the module `tls`
//! has a ticketer of its own.
//!
//! # The supervisor
//!
//! It decides by `Supervise`, which contains the
//! `Launch` by which a server replaces itself. There is one difference: a server
//! pauses its own accept loops, and the supervisor tells the serving worker to pause. To a new worker the
//! supervisor is a predecessor, on the same channel with the same words (READY, COMMIT, SETTLED). So a
//! release that knows nothing of supervisors can be a worker. The supervisor gives the two workers a channel
//! of their own, for connections and state alone.
//!
//! A worker does not acknowledge a pause. The order is enough: the supervisor sends PAUSE to the old worker
//! before it sends COMMIT to the new one. If the old worker is slow, both accept for a moment, which loses
//! nothing. So a frozen worker does not hold up its own replacement.
//!
//! With no worker to take back there is no probation: the first worker, and one that replaces a dead one,
//! settle when they are ready.
//!
//! A TERM to the worker that serves stops the service. A TERM to a worker that drains or still starts
//! concerns that worker alone: a draining worker says nothing, and a starting one says FAILED or LEAVING as
//! it would to a predecessor.
//!
//! A program that is not heirloom's accepts when it wants to, so it may hold requests when its start is given
//! up. It is stopped like a worker that was replaced. The supervisor does not wait for it before it starts
//! the next one.
//!
//! A worker gives the supervisor a duplicate of each socket that it binds, before it says READY. The
//! supervisor keeps the lock of a Unix socket's path, and removes the path at the end. So `main` needs no
//! list of addresses for the supervisor, and a new version may listen on more addresses or fewer. When all
//! workers have crashed, no connection that waits in a queue is lost.
//!
//! If the supervisor dies at a moment when one worker is paused and the other not yet committed, the two
//! workers agree by themselves (`Supervised`): a worker that was committed
//! says so on their channel, and a worker that was not leaves. A test kills the supervisor and the workers at
//! every step of it.
//!
//! The rollback executes an open descriptor, through the supervisor's own `/proc/PID/fd`, since the file may
//! be gone. An interpreter would open that path too late, so scripts have no rollback.
//!
//! # Fetching
//!
//! Everything about a new binary happens in the directory of the one that it replaces: only there is the
//! rename atomic, and only there does a trial run show what a start will meet (a file system mounted noexec,
//! say). The lock is on a file of its own, since the binary is another file after each update. It is released
//! and not only closed, because a child that another thread forks holds a copy until its exec.
//!
//! The digest and the signature are those of the file as published, and they are checked before anything
//! looks into it. The digest of the unpacked file is compared with the binary in place, and remembered when
//! that version fails. So the same program packed again counts as the same version. Failures that a later
//! look may cure (a digest that is published after its binary, a full disk) are tried again, at growing
//! intervals. Failures that only other bytes can cure are not tried again until the source has other bytes.
//!
//! heirloom follows redirects itself, because three things must not be left to a client's defaults: which
//! host gets the token, that https stays https, and what the error says.
//!
//! # systemd
//!
//! The process that systemd takes for the main one at that moment sends everything that systemd must know. So
//! the setting of `NotifyAccess=` does not matter, and heirloom does not have to find it out: systemd drops a
//! message that it does not admit, and does not tell the sender. A barrier follows `MAINPID=`, since systemd
//! ends the unit if it sees the predecessor's exit first. A separate thread waits for the barrier, because
//! systemd's queue can be full and the driver's other work (a take-back) must not wait for it.
//!
//! heirloom finds a socket in systemd's store by its name there, which holds the cookie, the listener's name
//! and the address that was asked for. A listener that no generation wants any more has to be taken out, or
//! its clients would wait for ever. It is not taken out as soon as it is dropped, since a program that ends
//! by an error drops it too.
//!
//! # Operating
//!
//! The control socket is found by asking the kernel which sockets a process holds and where they are bound,
//! and not by a path that both sides must derive alike: `XDG_RUNTIME_DIR`, `TMPDIR` and mount namespaces
//! differ between a service and a shell. So a dead process's socket is never asked. Every generation has its
//! own, so that the old one can say what it drains. A path that stays the same is a symbolic link, which a
//! rename replaces.
//!
//! The driver serves it between its other inputs, without tasks and without a queue. A reply goes into the
//! client's socket buffer at once, or the connection ends. The last reply of a process must be out before
//! `main` learns of the end, and a client that stalls must not hold any resource.
//!
//! An operator whose request arrives during a restart is sent on to the successor, which acts on it: the
//! request itself travels with SETTLED as before, and the operator's connection follows as a descriptor. The
//! predecessor cannot wait for the outcome, because it has to end. If the operator looked for the successor
//! by itself, it could come too late: with no probation and nothing to drain, the successor may be replaced
//! after a few milliseconds as well.
//!
//! A worker sends an operator on to its supervisor in the same way, with the request itself. The supervisor
//! alone knows each step, which restart this one waits for, and where standard error ended before the new
//! worker wrote to it. A worker would have to be told all of that, and could only repeat it.
//!
//! What a lost successor wrote to its standard error can be read back only from a file. A pipe through the
//! predecessor would have to outlive the predecessor, for the successor, its helpers, and every duplicate
//! that a logger has made. And a program that finds a pipe instead of a terminal or the journal logs in
//! another form.
//!
//! # What the library does not do
//!
//! It never exits. There is one exception: a second TERM before the program is ready has the signal's default
//! action. There is nothing to drain then, and nothing else ends a `main` that is stuck in its
//! initialisation.
//!
//! It never changes the environment: a process may have threads that read it. A grandchild inherits the
//! announcement as a string without effect: the cookie of the channel shows that it is meant for another
//! process.
//!
//! ---
//!
//! Before: [`measurements`](super::measurements).
