//! Proving any server: `heirloom prove` restarts it under clients that never retry, and names what they lose.
//!
//! It works for a server in any language that restarts in any way: what it knows comes from its clients, and
//! from who holds the listening socket.
//!
//! ```console
//! $ heirloom prove --url http://127.0.0.1:8080/ -- ./server --listen 127.0.0.1:8080
//! $ heirloom prove --url http://127.0.0.1:8080/ --signal USR2 --pid-file /run/server.pid
//! $ heirloom prove --url http://127.0.0.1/ --restart-command 'systemctl reload nginx'
//! ```
//!
//! The first line starts the server, and stops it at the end. The others use one that runs already. All of
//! them restart it twenty times (`--restarts`). The exit status is 0 if nothing was lost, and 14 if something
//! was. It is 9 if nothing was lost until `--timeout`, INT or TERM cut it short, and 3 if the server does not
//! serve.
//!
//! It must run on the server's machine, as the server's user or as root: the kernel tells others nothing of
//! who holds a socket. An address that is not the machine's loopback is refused without `--not-loopback`.
//! There are two clients of each kind (`--clients`), which make some hundred requests a second together.
//!
//! # What the clients do
//!
//! | kind | what it does |
//! |---|---|
//! | `new` | A new connection for each request. |
//! | `early` | Connects, and asks up to half a second later, as browsers do. |
//! | `kept` | One connection. It looks for the connection's end before each request, as good clients do. |
//! | `round-trip` | The same, with 2 ms between the look and the request, as over a network. |
//! | `blind` | One connection. It never looks for its end, as simple clients do. |
//! | `pipelined` | Four requests at once on one connection. |
//! | `half-closed` | Ends its own direction behind the request. |
//! | `slow-reader` | Reads the answer in small pieces. `--large PATH` names a long one. |
//! | `slow-writer` | Sends the head of its request in small pieces, for half a second. |
//! | `upload` | Sends 64 KiB by POST, for half a second. `--upload PATH` says where to. |
//! | `slow` | With `--slow PATH`: asks for what takes the server long. |
//! | `http2` | One connection of HTTP/2 (without TLS by prior knowledge), one stream after the other. |
//! | `websocket` | With `--websocket PATH`: sends messages, and waits for the echo of each. |
//! | `events` | With `--events PATH`: listens to a stream of events. |
//!
//! Before the first restart each kind is tried in quiet. One that the server does not serve even then is left
//! out, and the report says so. The status that it got is what it expects from then on.
//!
//! A connection that a client finds closed when it looks is no loss, and is counted as `found closed`,
//! unless a fault had to close it: its process was killed, or the server was asked to end. An answer that
//! says `Connection: close` is no loss either (`told to close`), and neither are GOAWAY, a Close frame and
//! the proper end of a stream of events. The one request that is asked twice is one of HTTP/2 that the
//! server says it has not taken.
//!
//! Of an https address the certificate is checked against `--ca FILE`, or not at all with `--insecure`. The
//! command must have been built with the feature `tls` for it (`cargo install heirloom --features cli,tls`).
//!
//! # The phases of a restart
//!
//! | phase | from when |
//! |---|---|
//! | `before` | There was no restart yet. |
//! | `starting` | The restart was asked for. |
//! | `both` | A new process holds the listening socket. |
//! | `draining` | No old process holds it any more. |
//! | `over` | The old processes are gone. |
//!
//! The old processes are those that had connections when the restart was asked for: of a master and its
//! workers, the workers. A restart has `--restart-timeout` to get rid of them.
//!
//! # What can be lost
//!
//! The report has the usual cause of each, and what to do.
//!
//! | name | what was seen |
//! |---|---|
//! | `refused` | A connection was refused: nobody listened at that moment. |
//! | `unreachable` | A connection was not made in time: the queue was full. |
//! | `never-accepted` | A connection that the kernel had made was reset before the server read anything. |
//! | `forgotten` | The server took a request, and closed without an answer. |
//! | `closed-while-idle` | A kept connection was closed without notice, and the next request on it was lost. |
//! | `cut-off` | An answer ended before it was complete. |
//! | `upload-cut` | The connection was closed while the client sent its request. |
//! | `unanswered` | No answer came within `--patience`. |
//! | `not-ready` | The new process answered with an error. |
//! | `turned-away` | A process that drains answered with an error. |
//! | `other-answer` | The status was another one than without a restart. |
//! | `garbled` | What came is no answer. |
//! | `late` | An answer to a quick client took longer than `--max-latency`. |
//! | `session-cut` | A WebSocket or a stream of events was cut without a word. |
//! | `no-successor` | No new process came. A server that executes its program in place looks like this too. |
//! | `two-generations` | The old process still accepts after `--restart-timeout`. |
//! | `never-ends` | The old process is still there after `--restart-timeout`. |
//! | `gone` | Nobody listens any more. |
//!
//! # Faults
//!
//! With `--faults` it harms the server in the middle of some more restarts. Each harm is made good again, and
//! then one more restart has to work. `--faults=hang,kill` makes only these.
//!
//! ```console
//! $ heirloom prove --url http://127.0.0.1:8080/ --restarts 5 --faults -- ./server --listen 127.0.0.1:8080
//! ```
//!
//! | name | what is done |
//! |---|---|
//! | `broken-binary` | The program file ends at once with status 1, and is put back two seconds later. |
//! | `hang` | The new process is stopped (SIGSTOP) as soon as it is seen, for half of `--patience`. |
//! | `kill` | The new process is killed (SIGKILL) as soon as it has a connection. |
//! | `burst` | Fifty restart signals come at once. |
//! | `term` | SIGTERM comes as soon as the new process is seen. It ends the server, so it comes last. |
//!
//! The report says what was done and when, what the server made of it, and what was lost in that restart
//! and the next one. What no server could have kept is counted beside it (`inevitable`): the connections
//! that a killed process held, and those that are refused after the end that `term` asks for.
//!
//! Your program file is never touched. A COMMAND is started from a copy of its program (in `TMPDIR`,
//! without file capabilities), and the copy is broken, as a deploy replaces a program: by a rename. If
//! restarts execute another file (that of `heirloom run`'s workers, say), let them execute a symbolic link
//! to it, and name that by `--program`: the link is replaced for these two seconds, and the file that it
//! leads to is not. Should this command itself be killed meanwhile, the link lies beside it as `LINK.kept`.
//!
//! A server that was not started here gets no `term`, and without `--program` no `broken-binary`; with
//! `--restart-command` there is no `burst`. Bare `--faults` leaves these out, and the report says so.
//!
//! # What it cannot see
//!
//! A process that was there before the restart, and is handed the socket later, is noticed up to a tenth of a
//! second late; a new one within about ten milliseconds. Whether a reset connection had been accepted is not
//! to be seen from outside: a reset on an unused one counts as `never-accepted`, an orderly close as
//! `forgotten`. What a client of another kind would lose, it does not know.
//!
//! # In CI
//!
//! ```console
//! $ heirloom prove --url http://127.0.0.1:8080/ --restarts 5 --junit prove.xml --svg prove.svg -- ./server
//! ```
//!
//! `--json` prints one object on a line: `restarts`, `clients`, `findings` (with `loss`, `count`,
//! `by_client`, `by_phase`, `examples`), `faults` (with `fault`, `did`, `outcome`, `lost`, `inevitable`) and
//! `latency`, times in milliseconds. `--svg` draws the slowest answers around the restarts, and each loss.
//!
//! ---
//!
//! Before: [`testing`](super::testing). Next: [`troubleshooting`](super::troubleshooting).
