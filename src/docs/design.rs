//! Why it is built as it is: the decisions that cost something, and what was weighed.
//!
//! What must hold is in [`guarantees`](crate::guarantees); the protocol is in [`handover`](crate::handover); how
//! requests are kept is in [`drain`](crate::drain) and `http`. This page is for whoever wants to change them.
//!
//! # A thread of its own
//!
//! The driver (`restarter/driver.rs`) runs on one thread with a small runtime of its own, and not as a task among the
//! program's. A handler that blocks the program's workers must not delay a take-back, a stop, or the answer to READY.
//! The thread lives as long as the process, which the restart signals need as well: a successor starts with them
//! blocked, and a signal that every thread blocks stays pending for ever, so one thread that lasts has to unblock
//! them. Programs without a runtime can use the library for the same reason. The price is a thread and an epoll
//! descriptor.
//!
//! The exec itself is on yet another thread that exists for that moment: `posix_spawn` suspends the caller until the
//! exec, and an exec from a file system that hangs must not keep a stop from being heard. It is made by hand and not by
//! tokio's `spawn_blocking`, which panics where no thread can be made: that is a failed restart like any other.
//!
//! # COMMIT, and who accepts
//!
//! The successor says READY and accepts nothing; the predecessor stops accepting, *then* says COMMIT. Were the
//! successor to accept with READY, a deadline or a TERM that crosses it would kill clients that it had accepted. The
//! gap in which nobody accepts is a few microseconds, and the kernel's queue holds it.
//!
//! A death is learnt from a pidfd and not from the channel's end: a helper that a dead successor left behind keeps the
//! channel open. Whatever a peer said is read before its death or a deadline counts. That, and the rest of what the
//! machines take for granted of their driver, is in [`handover`](crate::handover).
//!
//! # Signs of life
//!
//! A pidfd tells of deaths, and nothing of a process that is stopped. So a successor says ACCEPTING after COMMIT and once more
//! when it is asked at the end of probation (PROBE); one that says neither in time is killed, and taken back from when it is
//! dead. In that order: SIGKILL is the one thing that a process which thaws cannot get ahead of, and until then there would be
//! two that accept. READY tells whether these words are to be had, so an older release settles as it always did. The last
//! word does not settle by itself: what was said behind it, and a death, are read first.
//!
//! The word comes from heirloom's thread. A question to the program's own loops would have to be answered by a handler that
//! may be busy for good reasons, and would make a slow successor a dead one.
//!
//! # The end of probation
//!
//! A successor whose predecessor falls silent (stopped by a debugger, say) goes on alone after a minute, and tells the
//! predecessor SETTLED, should that ever wake up: then it drains, as after any restart. Were it told nothing, it would
//! take the successor's later exit for a death and come back beside *its* successor.
//!
//! FAILED can cross COMMIT. The predecessor then takes back at once instead of waiting for the exit: a process that
//! exits slowly could outlast probation, and there would be a settlement on nobody.
//!
//! A TERM to the whole process group during probation reaches both sides, and each tells the other. That is one
//! request to stop and not two: the second one to the *same* process is what calls the hammer.
//!
//! # What runs, and where
//!
//! The program is resolved once, at the first generation's start, by the name that it was called by, and not through
//! `/proc/self/exe`: that names the old file after a deploy, and looks through the `current ->` symlink that a deploy
//! flips. The successor starts in the directory in which the first generation did, by the shell's name for it, so that
//! `cd current && ./server` finds the new release. Both travel in the announcement: a successor cannot find them again
//! once the directory is gone.
//!
//! # Ownership by lock
//!
//! Unix socket paths and the pid file belong to whoever holds a lock on a file beside them. The lock goes with its open
//! file description to the successor, and ends with the last copy, however its holders end. Process ids in files are
//! only for people: they are reused.
//!
//! # Moving connections
//!
//! A moved connection comes out of the accept loop of the listener that it came from, with the bytes that were read
//! ahead, and is then what any accepted connection is: no second entry, no special service. That is also why HTTP/1
//! connections move between two requests and not in one. TAKEN is sent before the successor can read; until then the
//! predecessor keeps an untouched duplicate, and only REFUSED or the successor's death gives it back. A timeout would
//! not know whether there is a reader already.
//!
//! The HTTP/1 connection is taken out of hyper by polling it as an ordinary future, seeing from the service, the response's
//! body and the last flush that nothing is in flight, and calling `into_parts`. hyper's own graceful shutdown announces
//! a close, and loses the request that is on its way to a connection that has not spoken (hyperium/hyper#3792).
//!
//! # State
//!
//! State goes through a sealed memfd: one copy in, and none out, since the successor maps it. The seals are checked before
//! the mapping; a file that its owner could still shorten would kill the reader. The program's provider runs on a thread
//! of its own, one call at a time, and its panic or hang is an answer like any other. No predecessor, no such name and a
//! predecessor that is too old are all "no state": else the restart into the first release that asks would fail.
//!
//! Session ticket keys are such state. rustls's own ticketers keep theirs to themselves, so `tls` has one that does not.
//!
//! # The supervisor
//!
//! It decides by [`Supervise`](crate::handover::Supervise), which contains the very [`Launch`](crate::handover::Launch) by
//! which a server replaces itself: only where that pauses its own accept loops, the supervisor tells the worker that serves
//! to. To a new worker the supervisor is its predecessor, on the same channel with the same words (READY, COMMIT,
//! SETTLED), so a release that knows nothing of supervisors is a worker all the same. The two workers get a channel of
//! their own from the supervisor, for connections and state alone.
//!
//! A pause is not acknowledged. The order is enough: PAUSE is sent to the one before COMMIT is sent to the other, and if
//! the first is slow both accept for a moment, which loses nothing. A worker that is frozen does not hold up its own
//! replacement.
//!
//! With no worker to take back there is no probation: the first worker, and one that replaces a dead one, settle when
//! they are ready.
//!
//! A worker's wish to stop is the service's only while it is the service. From one that drains, or still starts, it is about
//! that worker: a draining one says nothing at all, and a starting one says FAILED or LEAVING as it would to a predecessor.
//!
//! Programs that are not heirloom's accept when they please, so one that is given up before it was ready may hold requests. It
//! leaves like one that was replaced, beside whatever is started next, and is not waited for.
//!
//! A worker gives the supervisor a duplicate of whatever it binds, before it says READY; and the supervisor keeps the lock
//! of a Unix socket's path, and removes the path at the end. So `main` needs no list of addresses for the supervisor, a
//! new version may listen on more or fewer, and when all workers have crashed nothing that waits in a queue is lost.
//!
//! If the supervisor dies at a moment when one worker is paused and the other not yet committed, those two are left to
//! agree ([`Supervised`](crate::handover::Supervised)): whoever was committed says so on their channel, and whoever was not
//! leaves. Every step of it is killed in a test.
//!
//! The rollback runs a descriptor, through the supervisor's own `/proc/PID/fd`, since the file may be gone. An
//! interpreter would open that path too late, so scripts have no rollback.
//!
//! # Fetching
//!
//! Everything about a new binary happens in the directory of the one that it replaces: only there is the rename atomic, and
//! only there does a trial run show what a start will meet (a file system mounted noexec, say). The lock is on a file of
//! its own, since the binary's is another after each update, and it is released and not just closed: a child that another
//! thread forks holds a copy until its exec.
//!
//! The digest and the signature are of the file as published, and checked before anything looks into it; what is compared
//! with the binary in place, and remembered when it fails, is the digest of what it unpacks to, so that the same program
//! packed anew is still the same. Failures that a later look may cure (a digest that is published after its binary, a full
//! disk) are fetched again, ever more seldom; those that only other bytes can cure wait for other bytes.
//!
//! Redirects are followed by hand, for the three things that must not be left to a client's defaults: who gets the token,
//! that https stays https, and what the error says.
//!
//! # systemd
//!
//! Everything that systemd must know is said by the process that it takes for the main one at that moment. So it does not
//! matter whom it admits, and nobody has to find that out: a message that is not admitted is dropped without a word to its
//! sender. `MAINPID=` is followed by a barrier, since the predecessor's exit ends the unit if it is seen first; a thread of its
//! own does the waiting, because systemd's queue can be full, and the driver's other work (a take-back) must not wait for that.
//!
//! Sockets in systemd's store are found again by what their names there say, which is the only room for it: the cookie,
//! the listener's name and the address that was asked for. A listener that nobody wants any more has to be taken out, or its
//! clients would wait for nobody; but not at once when it is merely dropped, since a program that ends by an error does that too.
//!
//! # Operating
//!
//! The control socket is found by asking the kernel which sockets a process holds and where they are bound, and not by
//! a path that both sides must derive alike: `XDG_RUNTIME_DIR`, `TMPDIR` and mount namespaces differ between a service
//! and a shell. It is also why a dead process's socket is never asked. Every generation has its own, so that the old
//! one can say what it drains; a path that is to be the same for ever is a symbolic link, swapped by rename.
//!
//! It is served by the driver between its other inputs, without tasks and without a queue. What is told goes into the
//! client's socket buffer at once or ends the connection: the last word of a process must be out before its end is
//! known to `main`, and a client that stalls must hold nothing.
//!
//! An operator whose request arrives during a restart is sent on to the successor, which acts on it: the request itself
//! travels with SETTLED as before, and the operator's connection goes to the successor as a descriptor, right behind.
//! The predecessor cannot wait for the outcome: it has to end. Were the operator to look for the successor by itself, it
//! could come too late: with no probation and nothing to drain, that one is gone after a few milliseconds as well.
//!
//! A worker sends an operator on to its supervisor in the same way, with the request itself. The supervisor alone knows each
//! step, what the restart is behind, and where standard error ended before the new worker wrote to it; a worker would
//! have to be told all of that, and could only repeat it.
//!
//! Of what a lost successor wrote to its standard error only a file can be read back. A pipe through the predecessor
//! would have to outlive it, for the successor, its helpers, and every duplicate that a logger has made; and a program
//! that finds a pipe where the terminal or the journal was logs differently ever after.
//!
//! # What the library does not do
//!
//! It never exits. A second TERM before the program is ready is the one exception that the signal's own meaning makes:
//! there is nothing to drain, and only the default action ends a `main` that is stuck in its initialisation.
//!
//! It never changes the environment: a process may have threads that read it. A grandchild inherits the announcement as a
//! dead string, and sees by the cookie of the channel that it is not for it.
