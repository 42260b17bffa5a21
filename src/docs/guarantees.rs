//! What holds, by number, and what does not. Tests quote the numbers.
//!
//! * **G1 No connection is lost.** Every connection that the kernel completed is accepted by some generation.
//!   The listening socket is never closed by all processes at once, never bound again, never `shutdown()`.
//! * **G2 No request is lost.** A request whose bytes the server may have received gets its full response, up
//!   to the drain deadline. Up to the idle linger, a connection on which a request may be on its way is not
//!   closed without notice.
//!
//!   A client that ends its own direction and waits (`shutdown(SHUT_WR)`) gets its response too, over HTTP/1.
//!   If nothing is sent to it for a minute after that, it has probably gone, and its request ends
//!   (`http::Config::half_closed_timeout`: over TCP the two cannot be told apart before something is
//!   written).
//! * **G3 A failed successor changes nothing.** The successor may be missing, not executable, of another
//!   architecture, crash at its start, exit with status 0 before it is ready, hang, fail in its own
//!   initialisation, or die or freeze right *after* it was ready. The predecessor serves on and reports the
//!   reason, and the next restart works.
//! * **G4 At most one successor at a time.** A trigger that arrives while a successor starts is remembered
//!   once, since the binary may have changed after the spawn. It is acted on after the outcome: by the
//!   successor if that settled, else by the predecessor. A burst of a thousand signals makes at most two
//!   restarts.
//! * **G5 Everything ends.** Each wait has a deadline that can be set. A process that is asked to stop is
//!   gone by its deadline, and a second request makes it immediate. (A foreign server under a supervisor may
//!   ask for more time, as it would ask systemd: `EXTEND_TIMEOUT_USEC=`.)
//!
//!   Nothing that others hold up keeps a process. If nobody reads the log, heirloom counts the lines that do
//!   not fit into its queue, and reports the number later. If the disk below the pid file, the status file or
//!   the control socket's path hangs, heirloom waits for a second, and writes the file when the disk answers.
//!   A hook that does not return is waited for 5 s.
//!
//!   A server whose terminal is closed is asked to stop, even if SIGHUP means a restart otherwise. That it
//!   cannot write to the terminal any more does not keep it from its end. A server that was started with
//!   SIGHUP ignored (`nohup`) goes on.
//!
//!   If a supervisor is killed, its foreign workers stop, or are killed at the shutdown deadline, even if
//!   they have changed their user. (That needs the right to signal them, and a watcher that is not killed at
//!   the same moment.)
//! * **G6 Nothing leaks.** After a thousand restarts: the same descriptors, the same size of environment, no
//!   zombies, no growth in memory, and no inherited descriptor reaches an unrelated grandchild.
//! * **G7 Mixed versions work.** Predecessor and successor may be built against different releases of
//!   heirloom. The handover messages are versioned, bounded, and tested against the recorded bytes of every
//!   release.
//!
//! Threads, processes and descriptors may run out. That is one of the failures of G3: whatever step of a
//! restart lacks one, the reason is reported at once, the predecessor serves on, and the next restart works
//! once there is room. No connection is refused because a helper thread is missing. Under a supervisor a dead
//! worker is replaced as soon as there is room, with the usual backoff. Clients do not use up the
//! descriptors: the last 64 (or the last quarter, of fewer than 256) are for operators and for a restart.
//! Connections beyond that wait in the kernel's queue. heirloom raises no limit unless it is asked to.
//!
//! # Who is believed
//!
//! * An operator's request goes to the process that was named, and to no other: not by way of a link, a
//!   socket or a pid file that another user could have put there (see the module `control`). It is void once
//!   the operator has gone.
//! * What another process says is escaped, and of bounded length, where people read it.
//!
//! # What it needs
//!
//! * Linux 5.4 or newer, with glibc.
//! * Memory for two processes during a restart.
//! * Environment variables whose names begin with `HEIRLOOM` are heirloom's.
//! * The program returns from `main` when [`Restarter::run`](crate::Restarter::run) does.
//!
//! # What is not guaranteed
//!
//! **When a process is killed or the machine stops**
//!
//! * Requests that a killed process held are lost, by SIGKILL as by a crash. Connections that it had not
//!   accepted yet are kept where systemd keeps the listening sockets (feature `systemd`). Elsewhere they are
//!   lost with the last process that has the sockets.
//! * If a supervisor is killed and its workers stop then (the default), what waits in the queue is lost.
//! * A process that is out of memory is aborted by Rust's allocator.
//! * A reboot ends everything.
//!
//! **HTTP**
//!
//! * Of TLS connections only those over TLS 1.3 with AES-256 or ChaCha20 outlive their process. The others
//!   are told to close, and their clients reconnect. The keys of a TLS connection go to the successor with
//!   it; keying material for exporters does not. The module `tls` has the threat model, and the switch.
//! * An HTTP/2 connection moves when its streams have ended, within a quarter of the drain, and 15 s. What
//!   its client sends on new streams meanwhile goes along, up to 4 MiB. One with a stream that has lasted
//!   longer (streaming gRPC, a CONNECT, an event stream) is told to close after two seconds (GOAWAY in two
//!   steps), as is one with more than that to upload before the others have ended; its streams end where they
//!   began, up to the drain's deadline.
//!   A client that breaks RFC 7541 by using a table of fields which was taken from it loses its connection.
//! * WebSockets and event streams outlive their process only where the program has them move
//!   (`http::sessions`): over HTTP/1, without TLS or over what of TLS moves, between two messages or
//!   chunks, if the request that began them has at most 64 KiB of body. A WebSocket gets Close 1012 instead
//!   if a message takes longer than 5 s to end, if its compression remembers earlier messages, if there is
//!   more than 64 KiB of state, or if the successor answers its request in another way than the predecessor
//!   did. A stream stays with the old process up to the drain's deadline; if the successor answers in another
//!   way it is cut. What a handler has not flushed, or keeps in a channel of its own, when it has its session
//!   move is lost.
//! * An HTTP/1 request may be answered before its upload ends. Where heirloom follows the bytes, which is
//!   where sessions move and where connections are lent to a framework, the rest is read by whoever holds the
//!   body, up to the drain's deadline. Then the connection moves, or is told to close with its next response.
//!   Elsewhere hyper alone reads, and does not say whether a body was read to its end: if the drain begins
//!   meanwhile, the connection is closed without notice when the upload is over, because the head of the
//!   response, which could have given notice, has been sent.
//! * A half-closed client over HTTP/2, or one that ends a TLS connection without saying so in TLS, counts as
//!   gone.
//! * A connection that moves late (its request lasted) to a successor that has itself handed over by then is
//!   told to close. It does not move again.
//!
//! **Datagrams** (feature `udp`; the kernel itself promises nothing about one)
//!
//! * One generation reads at a time, and what the kernel has queued is read by it, the successor's at COMMIT
//!   and the predecessor's again if it takes back. What a successor had read and not yet forwarded when it
//!   was killed is lost, as what any killed process held.
//! * A datagram of a conversation reaches the generation that it began with, until that one ends. It is
//!   dropped, and counted, only if that generation does not read 4 MiB of them.
//! * A QUIC connection (feature `quic`) lasts over restarts until its process's drain deadline, and is not
//!   moved to another process. Clients that begin during a restart are served. Those of HTTP/3 are told to go
//!   by the program (`examples/http3.rs`): they connect once again, and no request is lost. With
//!   `quic::Quic::early_data` 0-RTT goes on over restarts, and a session is good for it once, in one
//!   generation. It is lost with a process that is killed.
//! * With [`Restarter::udp`](crate::Restarter::udp) none of this holds: both generations read.
//!
//! **Frozen processes**
//!
//! * heirloom does not notice a program whose own runtime hangs while heirloom's thread goes on. That thread
//!   says, after COMMIT and again at the end of probation, that the process accepts. If it is silent for 5 s
//!   then (SIGSTOP, a debugger, a hung machine), the process is killed and taken back from. But it does not
//!   ask the program's own accept loops.
//! * heirloom does not notice a process that freezes after its last word, or one of a release that does not
//!   say it. Under `heirloom run` a foreign program is looked at instead: at the end of probation it must not
//!   be stopped, and must pass its check (`--ready http=` or `tcp=`) once more, within 5 s. Otherwise it is
//!   sent the stop signal, since it may hold requests, and the old one serves on.
//! * A frozen *predecessor* costs no client anything once the successor accepts: the successor goes on alone
//!   a minute after the end of probation. Until then nobody can restart.
//! * A server that is stopped while it has no descriptor left may not end quickly. Those that wait in its
//!   queue are owed an answer (G1), so they are accepted as others leave, and one that sends nothing is kept
//!   for the idle linger, like any other. With many of them that lasts until the shutdown deadline, and a
//!   client that still waits then is reset. A second stop ends the server at once.
//!
//! **Other accept loops, other servers**
//!
//! * heirloom cannot pause an accept loop on a socket of its own (`Listener::into_tokio`, `into_std`). So
//!   both generations accept during probation. heirloom cannot control how such a loop closes its connections
//!   either: most of them close idle ones, and each close can cost a request. `http::serve` does not do that,
//!   and nor does a framework to which heirloom lends the connections ([`frameworks`](super::frameworks)).
//!   What such a loop has in flight is answered if it runs in
//!   [`Restarter::run_with`](crate::Restarter::run_with), or if the program keeps a
//!   [`Restarter::hold`](crate::Restarter::hold) for it.
//! * heirloom cannot wake a thread that waits in accept(2) itself, on a socket that
//!   [`Listener::into_std`](crate::Listener::into_std) gave and the program made blocking. Such a thread
//!   takes one more connection after its process has handed over. All generations share O_NONBLOCK: heirloom
//!   leaves it as it finds it, and sets it only when the successor's own loop has settled (until then that
//!   loop leaves the socket to the predecessor). A *successor* that makes the socket blocking does so for its
//!   predecessor too. [`Listener::into_blocking`](crate::Listener::into_blocking) has none of these problems.
//! * A foreign server may accept requests before it is ready. If its start is given up it gets the stop
//!   signal, and SIGKILL only at the drain deadline (or at the shutdown deadline, when the service stops).
//!   What it holds is lost if it does not end in order at the stop signal.
//! * heirloom keeps the last descriptors for operators and restarts from its own connections only, not from
//!   another accept loop, nor from files and sockets that the program opens.
//! * A successor may hang because threads have run out, before it has said anything: tokio's multi-threaded
//!   runtime does if it can make some of its workers and not all. Then the start timeout ends it, and the
//!   reason is not known at once.
//!
//! **Addresses and listeners**
//!
//! * A socket on `0.0.0.0:P` cannot become one on `127.0.0.1:P` in one restart: the predecessor listens on
//!   the port, and the bind fails with an error that says so. Use another port in between, in two restarts.
//! * Connections to a *dropped* listener that arrive between its last EAGAIN and its close are lost.
//! * A listener that a process makes while its successor is being started does not go to that successor. When
//!   the successor settles, the listener's queue is served and it is closed. (Under a supervisor it stays
//!   open, and its connections wait until the successor asks for it.)
//! * If somebody removes a Unix socket's path, clients cannot connect until the next restart, which makes the
//!   path again. (What waits in the old queue is served. If that restart fails under a supervisor, clients
//!   that connect to the new path wait for the next one.)
//!
//! **Rights**
//!
//! * A set-user-id server refuses to restart, or to have workers. Its environment is its caller's, so it
//!   believes no announcement, no `LISTEN_FDS`, no `NOTIFY_SOCKET` and no directory in there, and neither
//!   would its successor. (File capabilities alone change nothing: they end with the exec of another program,
//!   so the caller gains nothing by them.)
//! * Under a supervisor that adopts orphans (PID 1, a subreaper), a worker may run behind a wrapper that
//!   closes the handover's descriptors. heirloom does not tell it so: the worker looks like a daemon that a
//!   worker has left, and starts like any first generation.
//!
//! **The program**
//!
//! * The library never exits for a program that does not return from `main` when
//!   [`Restarter::run`](crate::Restarter::run) does. tokio's runtime, for one, waits for blocking tasks when
//!   it is dropped.
//! * The end of a process waits 200 ms for the last lines of a log that nobody reads. Lines that the program
//!   itself writes are not heirloom's: give `tracing` a writer that does not block if they must not hold up
//!   the end.
//! * A recorder of metrics that hangs holds up heirloom's own thread, which calls it.
//!
//! ---
//!
//! Before: [`coming_from`](super::coming_from). Next: [`measurements`](super::measurements).
