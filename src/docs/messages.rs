//! Messages: every warning and error that heirloom logs, and the beginnings of its errors.
//!
//! They are in the program's log, under the target `heirloom`, or on standard error if it has none
//! ([`Builder::warnings_to_stderr`](crate::Builder::warnings_to_stderr)). What comes before this page, by
//! symptom, is [`troubleshooting`](super::troubleshooting). A test keeps the lists complete.
//!
//! # Warnings and errors in the log
//!
//! | message | what it means, and what to do |
//! |---|---|
//! | `restart failed, serving on` | The new process did not get ready; `failure` says why. Nothing else has changed. |
//! | `restart taken back, accepting again` | The new process was lost after it was ready; `failure` says how. |
//! | `restart refused` | Nothing was started; `refusal` says why. See [there](super::troubleshooting#a-restart-is-refused). |
//! | `the hammer fell` | The drain deadline has passed: `aborted` connections were cut. See [`deadlines`](super::deadlines). |
//! | `aborted` | One of those, with what it was doing. |
//! | `connection aborted by the hammer` | The same, said by the server of HTTP. |
//! | `this process was in the foreground of its terminal, and its successor` | The shell's prompt comes back, and the server goes on. |
//! | `a listener is in an accept loop, but this process never said that it is ready` | The program awaits its accept loop and never calls `run`. Use [`run_with`](crate::Restarter::run_with). |
//! | `the accept loop has ended by itself: the service stops` | The future given to `run_with` returned before any drain. |
//! | `a killed successor does not die; going on without it` | It hangs in the kernel (a dead disk, a debugger). It has been sent SIGKILL. |
//! | `cannot reach the successor, no connection will move to it` | Its channel is gone. Connections are told to close instead. |
//! | `the successor speaks out of turn` | It breaks the protocol: look at its version. It is not heard for this. |
//! | `the successor cannot be understood` | As above; the restart fails. |
//! | `the predecessor cannot be understood` | As above, from the other side. |
//! | `the other side of the handover goes on about nothing, and is not heard any more` | As above; too many words that mean nothing. |
//! | `out of descriptors: some of those sent along are lost` | The limit of open files is reached: raise `ulimit -n`. |
//! | `the start directory is gone, starting the successor in the current one` | The directory in which the first generation was started was removed. |
//! | `the start directory is gone, starting the worker in the current one` | As above, under a supervisor. |
//! | `the successor asks for too much state at once, not answering` | More questions for state than are kept at once. |
//! | `no state for the successor` | A state provider failed, hung or wrote too much; `why` says which. See [`state`](super::state). |
//! | `a connection that came back cannot be registered` | The successor refused it, and here epoll does as well: descriptors or memory have run out. |
//! | `connection stays, since too much would have to move with it` | More than may go along (16 KiB; 64 KiB for a session; 4 MiB of what an HTTP/2 client has sent). |
//! | `what the predecessor moved here cannot be served` | A moved descriptor is not a connection that can be used. |
//! | `a session that has come here was not gone on with` | The handler answered in another way than its predecessor, so the client is told to come again. |
//! | `nobody goes on here with the session that has come` | This version has no moving sessions where the last one had. |
//! | `nobody goes on here with the HTTP/2 connection that has come` | This version does not serve HTTP/2 where the last one did. |
//! | `hyper does not go on with an HTTP/2 connection that has moved` | It is closed, and its client reconnects. |
//! | `no thread to enforce limits of connections` | Threads have run out (`ulimit -u`, `pids.max`): slow clients are not cut off. |
//! | `cannot receive datagrams, trying again` | The socket has an error of its own; `error` says which. Mostly memory has run out. |
//! | `the table of flows from the generation before cannot be read: those are begun anew` | Conversations by address are not known here; their next datagrams begin them with this process. |
//! | `the generation before does not say which flows it has: reading without` | As above: a worker that was frozen when its successor began to read. |
//! | `the successor cannot be told which flows there are: it will begin them anew` | As above, said by the other side: descriptors or memory have run out. |
//! | `a frame from a newer generation cannot be understood` | What was forwarded is not what this release reads: `it ends within a record`, or `there is no family of addresses` of that number. It is skipped, and counted. |
//! | `the predecessor's keys for QUIC cannot be read: starting with new ones` | Its connections are not found here by their ids; their clients have to connect again. |
//! | `starting with new keys for QUIC` | As above; `error` says why there are none. |
//! | `the successor will start with new keys for QUIC` | As above, said by the other side. |
//! | `this TLS configuration cannot be used with QUIC` | It needs TLS 1.3 and the suite with AES-128-GCM. |
//! | `cannot begin a QUIC endpoint` | The system refuses something for the socket; the cause says what. |
//! | `cannot accept, trying again` | Mostly the limit of open files; `error` says. Connections wait in the kernel. |
//! | `a connection cannot be made blocking` | fcntl failed for one connection, which is dropped. |
//! | `an accept may block here` | O_NONBLOCK of a shared socket cannot be set. |
//! | `nobody can connect there` | A Unix socket's path cannot be made again; `error` says why. |
//! | `somebody has removed the socket, making it again` | A Unix socket's path was gone at a restart. Look for who cleans up there. |
//! | `the socket's path will stay behind` | No lock can be had beside the path, so it is not removed at the end. |
//! | `the socket's path is not ours any more` | Another process has taken it. |
//! | `cannot remove the socket's path` | At the end; remove it by hand. |
//! | `cannot remove the socket's lock file` | At the end; remove it by hand. |
//! | `the file system hangs: going on before the socket's path is removed` | A disk does not answer. |
//! | `the file system hangs: going on before the control socket's path is right` | As above. |
//! | `the file system hangs: going on before the` | As above, for the pid file or the status file, which is written once the disk answers. |
//! | `cannot write the` | The pid file or the status file. `error` says why; it is tried again where that can help. |
//! | `cannot remove the pid file` | At the end; remove it by hand. |
//! | `there is no place for a control socket; starting without` | No directory is writable (`/run/heirloom`, `/tmp/heirloom-UID`): `heirloom restart` will not find this process. Signals work. |
//! | `cannot swap the control socket's path` | `control_at`'s path still leads to the old process. The new one tries again until there is a way: is the disk full? |
//! | `the control socket's path leads here after all` | It could not be swapped before. |
//! | `cannot accept on the control socket` | Mostly the limit of open files. |
//! | `the service manager does not say that it has heard` | systemd did not answer a barrier in time. It may take the old process's end for the service's. |
//! | `cannot tell the service manager` | NOTIFY_SOCKET does not take it. |
//! | `leaving out a descriptor that the service manager kept` | What systemd's store holds is no usable socket. |
//! | `a hook hangs: going on without it` | A hook of the program's [`SignalMap`](crate::SignalMap) did not return in 5 s. |
//! | `the hooks of a signal are left out: an earlier one hangs` | As above. |
//! | `lines are missing here: nobody has read the log for a while` | The log's reader hung, or its disk was full. |
//! | `came again, and was not logged each time` | `what` came so many `times` since it was last told. |
//! | `restart failed, the old worker serves on` | As without a supervisor. |
//! | `restart failed, and nobody serves` | The first worker does not start; it is tried again. |
//! | `restart taken back, the old worker accepts again` | As without a supervisor. |
//! | `restart taken back, and nobody serves` | The new worker was lost, and the old one had died. |
//! | `the worker that served has died` | `how` it ended. It is replaced. |
//! | `nobody serves, replacing the worker` | `within` is the backoff, `crashes` how many came in a row. Connections wait. |
//! | `the program keeps dying, going back to the last good one` | After three crashes in a row. The next restart that is asked for tries the file again. |
//! | `a worker did not go in time and is killed` | Its drain or stop took longer than the deadline. |
//! | `a killed worker does not die; going on without it` | It hangs in the kernel. |
//! | `a worker cannot be understood` | It breaks the protocol: look at its version. |
//! | `a worker does not get to know the one that is to replace it` | Its channel is gone. Its connections are told to close instead of moving. |
//! | `a worker's socket is not kept for the next one` | It cannot be used, or there are too many. |
//! | `a worker's descriptor is not kept for the next one` | There are too many. |
//! | `a worker does not get a socket before the next restart` | The channel to it is full or gone. |
//! | `an operator of a worker is turned away` | The supervisor cannot take over `heirloom restart` of a worker. |
//! | `the supervisor cannot be told` | The channel to it is full or gone. |
//! | `the supervisor cannot be understood` | It breaks the protocol: look at its version. |
//! | `the supervisor is gone` | It was killed. The worker stops or serves on, as [`Orphans`](super::supervisor) says. |
//! | `serving on without a supervisor` | As above. |
//! | `a socket from the supervisor cannot be used` | A listener that another worker made; the next restart gets it again. |
//! | `a socket from the supervisor has not arrived` | As above: this process had no descriptor left. |
//! | `restarted from a server without a supervisor, so this one has none: stop and start it` | A process that replaces itself cannot get a parent. |
//! | `what was to be called at the start hangs, or has panicked: going on without` | A hook given to `Supervisor::started`. |
//! | `the last check at the end of a worker's probation failed` | A foreign worker is not ready any more, so the old one serves on. |
//! | `the last check of the worker's readiness failed` | What `--ready` last got as an answer, when the start timeout had passed. |
//! | `a stranger's notification was ignored; further ones are counted` | A process that is not the worker's has written to NOTIFY_SOCKET. |
//! | `so many notifications of strangers were ignored` | As above. |
//! | `MAINPID= names a process that is not the worker's; it is ignored` | As above. |
//! | `no directory for NOTIFY_SOCKET: it is an abstract name` | Some programs take that for a path, and others can write to it. Give `heirloom run` a writable /run, /tmp or RUNTIME_DIRECTORY. |
//! | `no directory for NOTIFY_SOCKET: the worker goes without` | Give `heirloom run` a writable /run, /tmp or RUNTIME_DIRECTORY. |
//! | `nobody accepts at` | The server under `heirloom run` does not use the socket that it was handed. See [`any_server`](super::any_server#what-a-server-must-do). |
//! | `the worker is stopped by` | By SIGSTOP or a terminal: `kill -CONT` it. |
//! | `a worker will not be ended if this process is killed` | The process that watches over workers cannot be told of it. |
//! | `nobody watches over the workers: those that change their user outlive this process if it is killed` | That process cannot be started. |
//! | `killing what a worker has left behind` | `heirloom run` ends, and so do the processes that its servers have started. |
//! | `cannot wait for orphans: they stay as zombies` | SIGCHLD cannot be heard. |
//! | `cannot look for orphans` | waitid failed. |
//! | `cannot reap an orphan` | waitid failed. |
//! | `no thread to watch files: no change of them will be a restart` | Threads have run out (`ulimit -u`, `pids.max`). |
//! | `there is no such file to watch yet; once there is, the service restarts` | Look at the path given to `--watch`. |
//! | `no update, the running version serves on` | `error` says why; it is tried again after `next`. |
//! | `updates are held off: another process has the lock` | Another process updates the same binary. |
//! | `a TLS connection is closed: its keys cannot be followed` | Its keys were updated too often to move it. |
//! | `starting with new session ticket keys` | The predecessor's were not to be had: clients make full handshakes once. |
//! | `the successor will start with new session ticket keys` | They cannot be provided; `error` says why. |
//!
//! # Errors, by where they come from
//!
//! An error says itself what to do about it, and its causes stand behind it. The names are those of the
//! types, or of what was being done.
//!
//! * accepting: `file descriptors only the last`.
//! * TLS connections that move: `a connection has come from the predecessor`.
//! * `AdoptError`: `cannot be an inherited socket: inherited descriptors`; `has already been taken over by
//!   this`; `is announced but not open; the process`; `is announced but was not passed on,`; `cannot be
//!   taken over`.
//! * `AnnouncementError`: `holds`; `has version`; `is malformed at`; `lacks`; `names more than`; `names
//!   fd`.
//! * `CheckError`: `it has`; `its SHA-256 digest is`; `no SHA-256 digest is published for it`; `no
//!   signature is published for it`; `its signature is not valid`; `it cannot be unpacked`; `it is not an
//!   ELF program: it begins with`; `it is a tar archive; publish the`; `it is for`; `it is an ELF file of
//!   type`; `it is truncated`; `it is refused`; `its sanity check failed`; `cannot read`; `cannot write`.
//! * `ClientError`: `nobody answers at`; `no permission to use the control socket`; `the control socket`;
//!   `cannot use the control socket`.
//! * `ControlError`: `the control path`; `exists and is not a control socket;`; `is not a directory that
//!   only this`; `cannot make the control socket`.
//! * [`DescriptorError`](crate::DescriptorError): `another socket lies there than the one`; `something else
//!   lies there than what was`; `it is a`; `it is bound to`; `it is not listening`.
//! * `Descriptors`: `the name`.
//! * `Digest`: `not a SHA-256 digest: it has 64 hexadecimal digits`.
//! * `Distrust`: `process`; `user`.
//! * `EnvironmentError`: `cannot read the environment from`; `names no variable`; `line`; `is not a regular
//!   file; remove it,`; `is larger than`.
//! * `FactsError`: `is not a socket`; `cannot be inspected`.
//! * [`Failure`](crate::Failure): `the successor gave up`; `the successor`; `the successor was not ready
//!   after`; `the successor did not answer for`; `the successor broke the protocol`.
//! * `Fault`: `the peer sent a record that is too long`; `the peer sent a record that cannot be decrypted`;
//!   `the peer sent a message that does`; `the peer sent a message that cannot be read`; `the peer sent too
//!   many records that say nothing`; `the peer ended the connection with alert`; `a record could not be
//!   encrypted`.
//! * `FetchError`: `is not an http:// or https:// address`; `no answer from`; `answered with status`;
//!   `redirects more than`; `redirects from https to`; `cannot make sense of the answer of`; `no asset of
//!   release`; `several assets of release`; `cannot get`; `the download from`; `nothing came from`;
//!   `fetching from`; `bytes or more, and`; `cannot read`; `cannot write the download to`; `there is no way
//!   to speak TLS to`; `cannot fetch from`.
//! * `FindError`: `no process`; `process`; `is a thread of process`; `cannot read the pid file`; `the pid
//!   file`; `is no pid file: it is not a regular file`.
//! * `ForeignError`: `cannot name a worker's notification socket`; `cannot open /dev/null for a worker's
//!   standard input`.
//! * sessions that move: `the connection has gone to the successor,`.
//! * [`HandDownError`](crate::HandDownError): `descriptors are handed down already`.
//! * [`InheritError`](crate::InheritError): `is not a number that socket activation can mean`; `cannot
//!   inherit the`.
//! * `InstallError`: `cannot`; `is in the way: it is not`; `there is no`.
//! * `KeepError`: `the message came without its descriptor`; `there are`; `it is no socket that can be
//!   handed down`.
//! * `LaunchError`: `cannot learn whether`; `did not get as far as being executed in`.
//! * [`ListenError`](crate::ListenError): `is in use by`; `belongs to a server that is running;`; `exists
//!   and is not a socket; it`; `cannot own the path of`; `cannot set the mode or the owner of`; `cannot
//!   listen on`.
//! * [`ListenParseError`](crate::ListenParseError): `is not an address to listen on;`; `cannot resolve`;
//!   `the Unix socket path`.
//! * `LockError`: `is locked: a running server owns the`; `the lock file`; `is in the way: it is not`;
//!   `cannot lock`.
//! * state: `is not a sealed memfd (it has`; `holds`.
//! * `MessageError`: `handover message of`; `handover message ends in the middle of a field`; `handover
//!   message has version`; `handover message has the unknown kind`; `handover message of kind`.
//! * `NoThread`: `no thread can be made`.
//! * `NotReady`: `it closed the descriptor for its readiness`; `its readiness cannot be watched any more`.
//! * `NumberError`: `is chosen for two things; choose another`; `cannot be chosen: sockets start at 3`;
//!   `the name`.
//! * [`PidFileError`](crate::PidFileError): `the pid file`; `cannot own the pid file`.
//! * `ReadinessError`: `is no way to tell that a`; `a check at`; `cannot watch for a worker's readiness`.
//! * [`ReadyError`](crate::ReadyError): `this process gave up during its initialisation`; `this process was
//!   asked to stop before`; `the predecessor did not answer by the`; `heirloom's thread is gone`.
//! * the handover channel: `a message on the handover channel has 1 to`; `a message on the handover channel
//!   carries at most`; `is not a handover channel (a connected`.
//! * [`Refusal`](crate::Refusal): `this process has handed over and drains;`; `the service is stopping`;
//!   `this process is PID 1, and its`; `this process is the main process of`; `this process is set-user-id,
//!   and a successor`; `vetoed`; `restarts are turned off; stop it and`.
//! * [`RestartError`](crate::RestartError): `restart refused`; `restart failed, this process serves on`;
//!   `restart taken back, this process serves on`; `the service was stopped during the restart`;
//!   `heirloom's thread is gone`.
//! * [`RunWithError`](crate::RunWithError): `the accept loop failed`.
//! * `SanityError`: `it cannot be executed`; `it did not answer within`; `it ended with`; `it exited
//!   without the answer; does its`.
//! * `ServeError`: `connection aborted: the drain deadline has passed`; `client did not send the head of
//!   its request in time`; `client did not read its response in time`; `client ended its side, and was not
//!   answered in time`; `http connection failed`; `connection failed`.
//! * `Signal`: `is no signal; write a name such`.
//! * `SpawnError`: `cannot start`.
//! * [`StartError`](crate::StartError): `this process has a restarter already; clone that one`; `cannot
//!   take over what this process was started with`; `cannot handle the signals`; `cannot have the pid
//!   file`; `cannot have the control socket`; `cannot start heirloom's thread; look at RLIMIT_NPROC`;
//!   `pidfd_open fails`; `cannot wait for what happens (epoll_create, epoll_ctl,`; `cannot reach the
//!   service manager by NOTIFY_SOCKET=`.
//! * [`StateError`](crate::StateError): `the state`; `the predecessor's provider of the state`; `the
//!   predecessor cannot give the state`; `the predecessor is gone, and the state`; `the predecessor has not
//!   answered for the state`; `what the predecessor gave as the state`; `heirloom's thread is gone`.
//! * waiting for processes: `is not a pidfd; the announcement that named it is wrong`.
//! * `SupervisorError`: `cannot take over what this process was started with`; `cannot have the control
//!   socket`; `cannot have the pid file`; `cannot write the status file`; `pidfd_open fails`; `workers are
//!   started through /proc/self/exe, which cannot`; `this process is set-user-id, and its workers`; `cannot
//!   start the supervisor`; `cannot start the first worker`.
//! * `TicketKeysError`: `bytes are not the session ticket keys of a predecessor`; `the system's random
//!   number generator failed; no`.
//! * `TlsError`: `cannot read a`; `the certificate and the private key cannot be used`.
//! * `Unmoved`: `it was in the middle of a message for`; `it is at its end`; `a WebSocket extension keeps
//!   what only its library knows`; `no successor takes it`; `bytes would have to go along, and the limit
//!   is`; `a session over HTTP/2 or TLS 1.2,`.
//! * `UpdateError`: `no update from`; `what`; `the update cannot be put in place`; `the update`; `a step of
//!   the update panicked; if`; `a poll every`.
//!
//! ---
//!
//! Before: [`troubleshooting`](super::troubleshooting). Next: [`coming_from`](super::coming_from).
