//! What was measured, beside what, and how.
//!
//! # Restarts under load
//!
//! `scripts/restart-test.sh` makes 20 restarts under four loads at once on two cores. Its client has raw
//! sockets, never retries, and counts every refused, reset, empty or cut-off answer: **0 failed, 0
//! reconnects**, over two million requests.
//!
//! For comparison, the numbers of failed requests in 20 restarts (60 where it says so) that were measured for
//! others on one machine of that size:
//!
//! | server | new connection each | keep-alive, think 0-20 ms | keep-alive, no think |
//! |---|---|---|---|
//! | heirloom | 0 | 0, and no reconnect | 0, and no reconnect |
//! | endless (60 restarts) | 0 | 35 | 664 |
//! | grace (60 restarts) | 0 | 49 | 693 |
//! | tableflip (60 restarts) | 44 | 113 | 1017 |
//! | ecdysis with hyper-util's drain | 1-29 | 3-146 | 308 |
//! | nginx, USR2 | 0 | 5; 142 with a 2 ms round trip | not measured |
//! | HAProxy, -W | 0 | 4; 126 with a 2 ms round trip | not measured |
//!
//! `scripts/picture.py` draws the README's picture from a run on your machine.
//!
//! # Beside its peers
//!
//! `scripts/bench/peers --restarts 20 --faults --release` restarts heirloom and others in turn under the
//! clients of [`heirloom prove`](super::prove): 20 times in quiet, and then in the midst of a broken binary,
//! a hang, a kill, a burst of signals and TERM, each with a restart after it. The others are servers of
//! Debian, and programs with ecdysis, shellflip, pingora, axum-server's `Handle` and hyper-util's
//! `GracefulShutdown` (`scripts/bench/peer-servers`; a socket that is held for the last two stands for
//! systemd's). With `--svg OUT` it draws what clients saw. One run, on two cores that had other work for a
//! part of it:
//!
//! | server | lost in 20 restarts | lost to faults | told to close | found closed | first answer, ms | old one gone, s | p99 steady to around, ms | longest around, ms | memory of both, MiB |
//! |---|---|---|---|---|---|---|---|---|---|
//! | heirloom | 0 | 0 | 0 | 0 | 8.7 | 1.0 | 0.3 to 0.4 | 4 | 5.8 |
//! | heirloom, supervised | 0 | 0 | 0 | 0 | 11.4 | 1.0 | 0.8 to 0.7 | 4 | 11.1 |
//! | pingora, --upgrade | 0 | 4,511 | 120 | 0 | 1011.5 | 8.0 | 1.2 to 1.6 | 110 | 4.2 |
//! | Server::Starter, Starlet | 0 | 2 | 311 | 0 | 63.2 | 1.1 | 2.2 to 5.1 | 189 | 74.8 |
//! | unicorn, USR2 and QUIT | 0 | 2 | 26,279 | 0 | 370.8 | 1.3 | 1.5 to 3.5 | 109 | 100.6 |
//! | puma, phased | 4 | 5 | 307 | 81 | 52.9 | 0.4 | 2.5 to 7.1 | 27 | 33.2 |
//! | tableflip (Go) | 44 | 5,203, gone | 13 | 104 | 5.3 | 0.5 | 3.5 to 1.2 | 13 | 6.7 |
//! | HAProxy, -W | 44 | 5,668, gone | 51 | 105 | 94.3 | 0.4 | 1.2 to 1.6 | 18 | 15.2 |
//! | grace (Go) | 45 | 5,095, gone | 7 | 112 | 4.3 | 0.4 | 1.0 to 1.2 | 14 | 5.1 |
//! | nginx, USR2 and QUIT | 46 | 18 | 0 | 114 | 15.6 | 0.5 | 2.0 to 2.3 | 68 | 8.6 |
//! | ecdysis, hyper | 46 | 18 | 0 | 131 | 3.6 | 0.8 | 0.8 to 0.9 | 4 | 2.3 |
//! | nginx, reload | 48 | 19 | 0 | 112 | 8.5 | 0.5 | 1.6 to 1.3 | 93 | 7.0 |
//! | shellflip, hyper | 50 | 5,151, gone | 0 | 151 | 3.5 | 0.4 | 0.6 to 0.7 | 6 | 1.8 |
//! | hyper-util, held socket | 51 | 37 | 0 | 149 | 6.6 | 0.4 | 0.6 to 445.2 | 475 | 11.0 |
//! | Node, cluster | 58 | 5,136, gone | 0 | 102 | 208.5 | 0.5 | 5.2 to 7.2 | 25 | 59.9 |
//! | axum-server, held socket | 60 | 41 | 40 | 149 | 9.0 | 0.4 | 0.6 to 443.0 | 501 | 11.8 |
//! | uvicorn, workers | 90 | 42 | 0 | 178 | 308.1 | 1.2 | 47.6 to 47.8 | 64 | 81.1 |
//! | gunicorn, gthread | 95 | 33 | 25 | 0 | 17.4 | 0.5 | 9.1 to 18.4 | 90 | 66.2 |
//!
//! One that is gone no longer listens after a fault, so that all that its clients ask from then on is
//! refused: HAProxy after the broken binary, the others after the kill. pingora's service ends in the restart
//! after the kill. The faults that would have come after that were not made, and a burst of signals is none
//! of those that are restarted by a command. unicorn keeps no connection.
//!
//! Where others are ahead: the old process is gone sooner with all but four, since heirloom watches over the
//! new one for a second first. Both processes are smaller with shellflip, ecdysis, pingora and grace; and
//! the first answer comes up to 5 ms sooner with six of them. `scripts/bench/peers.svg` is that run's
//! picture.
//!
//! # WebSockets, event streams and TLS
//!
//! `scripts/live-test.sh` and `scripts/tls-test.sh` restart a server at random moments under clients that
//! never reconnect. What a client sends and what it gets is numbered; a quarter of the messages of Python's
//! clients have 60 kB. Both were run at once on two cores that had other work to do, with servers built
//! without optimization:
//!
//! | kind | clients | restarts | answered | lost | duplicated | closed | reconnects |
//! |---|---|---|---|---|---|---|---|
//! | WebSocket, axum; Python's websockets | 200 | 10 | 9,904 messages, 24,741 ticks | 0 | 0 | 0 | 0 |
//! | WebSocket, axum; Node | 200 | 10 | 22,563 messages, 37,695 ticks | 0 | 0 | 0 | 0 |
//! | WebSocket, hyper and tokio-tungstenite; Python's websockets | 200 | 10 | 10,561 messages | 0 | 0 | 0 | 0 |
//! | event streams, then another request on each connection | 100 | 10 | 300,000 events | 0 | 0 | 0 | 0 |
//!
//! A restart took 1.5 s at most until the new process answered. Over TLS 1.3, 64 clients and 20 restarts:
//!
//! | client | requests | failed | handshakes after the first |
//! |---|---|---|---|
//! | Python's ssl | 43,543 | 0 | 0 |
//! | Node | 12,429 | 0 | 0 |
//! | openssl s_client, with key updates | 8,532 | 0 | 0 |
//! | curl | 4,318 | 0 | 0 |
//!
//! # HTTP/2
//!
//! `scripts/h2-test.sh` does the same to clients of other makers over HTTP/2: 20 connections that are never
//! made again, a hundred streams at once, a quarter of the requests with 100 kB both ways, until a thousand
//! connections have moved. With a server built without optimization, the only work on two cores:
//!
//! | client | requests | restarts | moves | failed | GOAWAY | reconnects |
//! |---|---|---|---|---|---|---|
//! | Go's x/net/http2 | 33,579 | 50 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 30,353 | 50 | 1,000 | 0 | 0 | 0 |
//! | Node | 55,397 | 50 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 64,854 | 50 | 1,000 | 0 | 0 | 0 |
//! | grpc-go, unary | 35,086 | 50 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 29,352 | 51 | 1,018 | 0 | 0 | 0 |
//!
//! With an optimized one, beside other work (the tools make new connections when they have asked all that
//! they were told to, and those are no reconnects):
//!
//! | client | requests | restarts | moves | failed | GOAWAY | reconnects |
//! |---|---|---|---|---|---|---|
//! | h2load | 910,285 | 51 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 890,248 | 53 | 1,000 | 0 | 0 | 0 |
//! | nghttp | 11,712,000 | 526 | 1,001 | 0 | 0 | 0 |
//! | the same, TLS | 5,706,000 | 495 | 1,001 | 0 | 0 | 0 |
//! | curl, TLS | 88,707 | 123 | 1,004 | 0 | 0 | 0 |
//! | grpcio | 60,036 | 100 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 60,696 | 100 | 1,000 | 0 | 0 | 0 |
//! | Python httpx | 32,405 | 100 | 1,000 | 0 | 0 | 0 |
//! | the same, TLS | 30,925 | 100 | 1,000 | 0 | 0 | 0 |
//! | Chromium, TLS | 22,053 | 100 | 1,000 | 0 | 0 | 0 |
//!
//! # QUIC
//!
//! `scripts/quic-test.sh` has quinn's clients, which try everything once, and beside heirloom's endpoint
//! quinn on a socket that both generations read. One run with optimized programs, on two cores that had
//! nothing else to do:
//!
//! | | restarts | heirloom | a shared socket |
//! |---|---|---|---|
//! | 50 kept connections, a stream every 100 ms | 10 | 0 of 7,750 streams lost, 0 connections broken; at most 3.5 ms | 20 of 1,975 lost |
//! | 8 clients, one new connection after the other | 10 | 0 of 74,479 failed | 22 of 4,651 failed |
//! | the slowest hundredth of those, around restarts and else | 10 | 8.1 and 8.1 ms | 17 s and 8.1 ms |
//! | Retry and resumption | 5 | 60 of 60, 59 resumed | 60 of 60, 54 resumed |
//! | 0-RTT | 5 | 50 of 50 answered with the first round trip | 45 of 50 |
//! | a client's port changes in the drain | 3 | 0 of 15 streams lost, at most 0.7 ms | 0 of 15, at most 1.1 s |
//! | 100 MB down while the server restarts | 3 | 3 whole; forwarded at 80, 105 and 106 % of direct | none whole |
//! | 100 MB up | 3 | 3 whole; forwarded at 73, 105 and 140 % | none whole |
//! | the old process is killed in its drain | 1 | 0 of 6,138 new connections failed; its own are told within 1.0 s | told after 30 s |
//! | 20 kept connections of Python's aioquic | 5 | 0 of 1,620 streams lost, at most 14 ms | not tried |
//!
//! On a machine for which more than twenty other processes waited, the slowest hundredth of new connections
//! took 1.1 and 2.0 times as long around restarts as else, and of eighteen uploads one was forwarded at 59 %
//! of the direct rate; beside four programs that only compute, one at 19 %. No datagram was dropped in any of
//! them, neither by the kernel nor on the way: three processes share there what two have else.
//!
//! HTTP/3 (`examples/http3.rs`) through 5 restarts: of 20 clients of aioquic 0 of 3,193 requests failed, and
//! each connected again 5 times, as it was told to. Of a page in Chromium 0 of 1,140 failed; it had 6
//! connections, one for each process, and 44 ms was the longest that a request took.
//!
//! # Idle connections
//!
//! Ten thousand idle connections, half of which never spoke, go through five restarts
//! (`tests/moving/idle.rs`). None is closed, all are answered by the newest process, and the old process is
//! gone within 300 ms of settling.
//!
//! # Real clients and proxies
//!
//! nginx and HAProxy in front with upstream keep-alive, headless Chromium, wrk, h2load and curl: no error
//! over 5 to 20 restarts each (`tests/clients/proxies.rs`, `tests/clients/browser.rs`,
//! `tests/clients/tools.rs`).
//!
//! # Every order of events
//!
//! The handover is a pair of pure state machines (`src/handover`). A test walks every order of
//! events with a kill of either side at every step: 110,000 states for two generations, complete; three
//! generations to a depth; and the supervisor's machine among its workers likewise.
//!
//! # Chaos
//!
//! `tests/chaos/main.rs` plays rounds with real processes under load, by a seed that is printed: processes
//! killed and stopped, bursts of signals, broken binaries, slow starts, clocks that jump, no descriptors,
//! no memory, a full disk, a log that nobody reads, rude clients, at random moments. What a killed process
//! held may be lost, and nothing else; everything ends, and the next restart works. CI plays 30. A thousand
//! (`HEIRLOOM_CHAOS_ROUNDS=1000`, 18 minutes on two cores that had other work) had 7.6 million requests, of
//! which 635 were lost with the 276 processes that were killed for it, and no violation.
//!
//! # Other kernels
//!
//! `scripts/kernels.sh` boots Debian's kernels in an emulator, and runs there the tests of what heirloom asks
//! of the kernel and five restarts under load: Linux 5.10, 6.1 and 6.12 pass, with no request failed. All
//! else here was measured on 6.18. "Linux 5.4 or newer" rests on what is asked: the youngest calls are
//! `pidfd_open` (5.3) and `waitid` on a pidfd (5.4). heirloom was never run on a kernel before 5.10, with
//! musl, or on another architecture than x86-64.
//!
//! # What it costs
//!
//! `cargo build --release -p heirloom-bench -p heirloom-test-servers --all-features` builds the benches, as
//! `target/release/bench-*`. `scripts/bench-cost.sh` and `scripts/bench-supervisor.sh` build what they need.
//!
//! * `scripts/bench-cost.sh` (callgrind; wrk with 16 connections, the middle one of five turns), each beside
//!   bare hyper without any timeout in the same run:
//!
//!   | | instructions a request | allocations | heap of an idle connection | requests a second | 99 % within |
//!   |---|---|---|---|---|---|
//!   | hyper | 8,248 | 2 | 17,952 bytes | 1 | 1 |
//!   | hyper with its header timeout | +19.8 % | 3 | +112 | 1.02 | 1.00 |
//!   | heirloom | +3.3 % | 2 | +246 | 1.05 | 1.10 |
//!   | hyper-util's `auto` with `GracefulShutdown` | +3.9 % | 2 | +9,218 | 1.09 | 0.99 |
//!   | `axum::serve` | +62.0 % | 12 | not measured | 0.91 | 1.04 |
//!   | heirloom with the same router | +51.9 % | 11 | not measured | 0.89 | 0.99 |
//!
//!   What wrk sees differs by as much from turn to turn. The instructions of what else can move, beside the
//!   same libraries without heirloom: the echo of a WebSocket's message +2.3 % (114,589 with hyper and
//!   tokio-tungstenite), a request over TLS 1.3 -0.2 % (14,809 with tokio-rustls), a request over HTTP/2
//!   +5.2 % (27,538 with hyper), and over HTTP/2 and TLS +5.2 % (33,306). Of the former about three are for
//!   following the frames, and the rest for what hyper's code becomes around another socket and another body.
//!   The pings of `Config::ping`, if they are on, are 4.5 % more.
//! * `bench-move`: moving 10,000 connections takes about half of what its parts (passing the descriptors,
//!   registering them, starting hyper on each, closing the old ones) take one after the other on one core;
//!   about the same when pinned to one core.
//! * `scripts/idle-connections.sh` has `bench-move` move 100,000, half of which never spoke, in an emulated
//!   machine (two processors, 6 GiB, Linux 6.1), since few machines let one process open as many: none was
//!   closed, and it took 0.88 of the sum of its parts (9.3 s of 10.5 s; an emulated processor's seconds stand
//!   for nothing). The old process had 612 MiB in memory at most.
//! * `bench-restart`: from the signal to the new process's first answer, against the same binary's own cold
//!   start, 50 alternating pairs: 3 ms sooner (medians of 5.5 and 8.5 ms).
//! * `bench-restart --supervised`: a restart under a supervisor takes 0.6 ms longer to its first answer than
//!   the same program's without one (medians of 50 alternating pairs).
//! * `bench-spawn`: the time to the new process does not grow with the old one's memory (`posix_spawn`; a
//!   fork stalls for about 20 ms a GiB in the same run).
//! * `scripts/bench-supervisor.sh`: an idle `heirloom run` holds 3.3 MB of private memory and three threads,
//!   however many listeners; the process that watches over its workers holds about one more. In the same run
//!   Server::Starter holds 9.6 MB, unicorn's master 5.0, gunicorn's arbiter 4.1.
//!
//! * `scripts/bench/curves` restarts hello with more and more of something, prints a slope for each, and
//!   draws them (`scripts/bench/curves.svg`). On two cores, medians of five restarts:
//!
//!   | more of | from, to | first answer | settled to old one gone | bound by |
//!   |---|---|---|---|---|
//!   | resident memory | 0, 8 GiB | as a cold start: each fills its own | 78 ms a GiB | giving the memory back |
//!   | listeners | 1, 500 | 42 µs each | - | one message; the 2,001st is refused by `listen` |
//!   | idle connections | 0, 19,000 | - | 11 µs each | passing, registering and serving each anew |
//!   | requests of 2 s in flight | 0, 5,000 | - | the 2 s that they take | the slowest request |
//!   | state | 0, 1 GiB | handed over at 0.47 s a GiB | - | copying it |
//!   | generations at once | 1, 50 | - | - | 0.87 MiB of memory each |
//!
//! * `scripts/bench/fleet` (seeded) says on paper what a release does to 10,000 hosts with 10,000 connections
//!   each. Told by a shell loop within 10 s, 1,063 of them restart in one second, and clients of servers that
//!   close their connections make 10.6 million new ones in it; by the updater's polls 49, and staggered over
//!   an hour 11. A host with a million idle connections has moved them in 11 s, by the slope above.
//!
//! ---
//!
//! Before: [`guarantees`](super::guarantees). Next: [`design`](super::design).
