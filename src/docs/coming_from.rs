//! Coming from another tool: its words, ours, and the test that shows that ours does it.
//!
//! # endless (Go)
//!
//! | endless | heirloom | shown by |
//! |---|---|---|
//! | `endless.ListenAndServe(addr, handler)` | `http::run(addr, service)` | `tests/book/programs.rs` `every_program_restarts_under_a_request` |
//! | its signals (HUP restart, USR1, USR2 hammer, INT/TERM, TSTP) | [`SignalMap::endless`](crate::SignalMap::endless) | `tests/handover/signals.rs` `the_endless_map` |
//! | `SignalHooks[PRE_SIGNAL]`, `[POST_SIGNAL]` | [`SignalMap::before`](crate::SignalMap::before), [`after`](crate::SignalMap::after) | `tests/command/stuck_reader.rs` `g5_a_hook_that_hangs_is_not_waited_for` |
//! | `DefaultHammerTime` | [`drain_timeout`](crate::Builder::drain_timeout), [`shutdown_timeout`](crate::Builder::shutdown_timeout) | `tests/handover/shutdown.rs` `g5_the_hammer_is_counted_and_in_the_exit_status` |
//! | `BeforeBegin` with the pid written | [`pid_file`](crate::Builder::pid_file) | `tests/handover/identity.rs` `the_pid_file_names_who_serves` |
//!
//! # grace (facebookgo)
//!
//! | grace | heirloom | shown by |
//! |---|---|---|
//! | `gracehttp.Serve(servers...)` | several [`listen`](crate::Restarter::listen), one [`run`](crate::Restarter::run) | `tests/clients/load.rs` `on_several_listeners_at_once` |
//! | `gracenet.Net.Listen` | [`listen`](crate::Restarter::listen) inherits or binds | `tests/handover/listeners.rs` `every_kind_at_once` |
//! | `PreStartProcess` | `Supervisor::before_restart`; in a server, what `main` does | `tests/supervisor/workers.rs` `restarts_can_be_vetoed_or_turned_off` |
//!
//! # overseer (Go)
//!
//! | overseer | heirloom | shown by |
//! |---|---|---|
//! | `overseer.Run(Config{Program})` | `Supervisor::new().run(program)` | `tests/supervisor/workers.rs` `the_example` |
//! | `Address`, `Addresses`, `state.Listener` | `Supervisor::listen`; `Restarter::listen` in the worker | `tests/supervisor/workers.rs` `what_the_parent_binds_is_bound_before_anything_starts` |
//! | `Fetcher` (HTTP, S3, GitHub, File) | `heirloom::fetch`: see [`fetch`](super::fetch) | `tests/fetch/restart.rs` `a_supervisor_fetches_its_workers_next_versions_under_load` |
//! | `PreUpgrade`, the sanity check | `fetch::Checks`, `answer_sanity_check` | `tests/fetch/files.rs` `the_new_binary_is_run_before_it_is_used` |
//! | `RestartSignal`, `TerminateTimeout` | `Supervisor::signals`; [`drain_timeout`](crate::Builder::drain_timeout) | `tests/supervisor/workers.rs` `a_second_term_is_the_hammer_and_the_exit_code_says_so` |
//! | `state.GracefulShutdown` | [`draining`](crate::Restarter::draining) | `tests/supervisor/workers.rs` `term_lets_requests_finish_and_removes_what_was_made` |
//! | `NoRestart`, `Required: false` | `Supervisor::restarts(false)`, `supervised(false)` | `tests/supervisor/workers.rs` `the_same_program_without_a_supervisor` |
//!
//! # tableflip (Go)
//!
//! | tableflip | heirloom | shown by |
//! |---|---|---|
//! | `tableflip.New(Options{PIDFile, UpgradeTimeout})` | [`Restarter::builder`](crate::Restarter::builder), [`pid_file`](crate::Builder::pid_file), [`start_timeout`](crate::Builder::start_timeout) | `tests/handover/identity.rs` `the_pid_file_names_who_serves` |
//! | `upg.Upgrade()` | [`restart`](crate::Restarter::restart); by signal without more code | `tests/handover/signals.rs` `a_program_restarts_itself_and_learns_the_outcome` |
//! | `upg.Ready()` | [`ready`](crate::Restarter::ready), or [`run`](crate::Restarter::run), which waits as well | `tests/handover/deaths.rs` `the_successor_dies_when_it_says_ready` |
//! | `<-upg.Exit()`, then `Shutdown` | [`draining`](crate::Restarter::draining); `http::serve` does it | `tests/http/websocket.rs` `a_websocket_hears_goodbye_and_comes_again` |
//! | `upg.Fds.Listen` | [`listen`](crate::Restarter::listen) | `tests/handover/listeners.rs` `one_that_is_added` |
//! | `upg.Fds.AddFile`, `File` | [`hand_down`](crate::Restarter::hand_down), [`inherited_fd`](crate::Restarter::inherited_fd) | `tests/handover/state.rs` `state_and_descriptors_through_several_restarts` |
//! | `upg.Fds.AddConn` | connections [move](super::connections) | `tests/moving/idle.rs` `sessions_keep_their_count_and_their_half_lines` |
//! | `upg.HasParent()` | [`generation`](crate::Restarter::generation) above 1 | `tests/supervisor/workers.rs` `twenty_restarts_keep_alive` |
//! | `upg.WaitForParent()` | [`final_state`](crate::Restarter::final_state) resolves when the predecessor is done | `tests/book/window.rs` `the_counter_of_the_guide_loses_nothing` |
//! | `upg.Stop()` | [`shutdown`](crate::Restarter::shutdown) | `tests/handover/signals.rs` `a_program_stops_itself_and_learns_what_it_aborted` |
//! | systemd's `PIDFile=` | that, or better `Type=notify`: [`systemd`](super::systemd) | `tests/systemd/units.rs` `twenty_reloads_under_load` |
//!
//! # Go's `http.Server.Shutdown`
//!
//! | Go | heirloom | shown by |
//! |---|---|---|
//! | `Shutdown(ctx)` | [`shutdown`](crate::Restarter::shutdown)`(within)`; TERM | `tests/handover/signals.rs` `term_and_int_stop_gracefully` |
//! | closes idle connections at once | keeps them for the idle linger, and says so before it closes | `tests/http/drain.rs` `a_connection_that_never_spoke_may_still_ask_during_the_linger` |
//! | does not wait for hijacked connections; `RegisterOnShutdown` | counts them; [`draining`](crate::Restarter::draining) | `tests/http/drain.rs` `an_upgraded_connection_counts_until_dropped_and_is_hammered` |
//! | `Close()` | `heirloom hammer`, a second TERM | `tests/handover/signals.rs` `a_second_one_stops_at_once` |
//!
//! # listenfd and systemfd (Rust)
//!
//! | listenfd, systemfd | heirloom | shown by |
//! |---|---|---|
//! | `ListenFd::from_env()`, `take_tcp_listener(0)` | [`listen`](crate::Restarter::listen)`(address)` finds the socket of that address among LISTEN_FDS, not by its index | `tests/handover/listeners.rs` `activation_by_address` |
//! | index 0, 1, ... | names: [`Listen::name`](crate::Listen::name) finds LISTEN_FDNAMES | `tests/handover/listeners.rs` `activation_by_name` |
//! | `systemfd --no-pid -s http::3000 -- cargo watch -x run` | `heirloom run --listen 127.0.0.1:3000 --watch target/debug/server -- target/debug/server`, and `cargo watch -x build` | `tests/command/watch.rs` `a_program_that_changes_is_the_next_worker` |
//! | a server that reads LISTEN_FDS | works as it is under `heirloom run` | `tests/command/run.rs` `sockets_are_where_they_were_asked_for_and_nothing_else_is_open` |
//!
//! # axum-server's `Handle`
//!
//! | axum-server | heirloom | shown by |
//! |---|---|---|
//! | `axum_server::bind(addr).handle(handle).serve(app)` | `http::serve(listener, app)`, [`run`](crate::Restarter::run) | `tests/handover/axum.rs` `an_axum_program_with_five_changed_lines_loses_nothing` |
//! | `handle.graceful_shutdown(Some(within))` | [`shutdown`](crate::Restarter::shutdown)`(within)` | `tests/handover/signals.rs` `a_program_stops_itself_and_learns_what_it_aborted` |
//! | `handle.shutdown()` | a second stop, `heirloom hammer` | `tests/handover/signals.rs` `the_hammer_needs_no_stop_before_it` |
//! | `handle.listening().await` | [`Listener::local_addr`](crate::Listener::local_addr); [`accepting`](crate::Restarter::accepting) | `tests/book/programs.rs` `every_program_restarts_under_a_request` |
//! | `handle.connection_count()` | [`tracker`](crate::Restarter::tracker)`().count()`, [`status`](crate::Restarter::status) | `tests/operate/commands.rs` `why_the_old_process_is_still_there` |
//! | `RustlsConfig::from_pem_file`, `reload_from_pem_file` | `tls::Tls::from_pem_files`; a restart reloads | `tests/http/tls.rs` `g3_certificates_are_read_by_each_generation_and_bad_ones_change_nothing` |
//!
//! # unicorn
//!
//! | unicorn | heirloom | shown by |
//! |---|---|---|
//! | USR2, then QUIT to the old master | one HUP or USR2: the old one is told by itself when the new one has shown itself | `tests/command/loads.rs` `ruby_unicorn` |
//! | a new master that fails leaves two to tidy up | it is given up, the old one serves | `tests/command/run.rs` `what_fails_at_a_restart_leaves_the_old_one_serving` |
//! | `preload_app`, `before_fork` | none: each generation is executed anew | `tests/command/run.rs` `the_environment_is_read_anew_and_a_bad_one_keeps_the_old_worker` |
//! | USR1 reopens logs, TTIN and TTOU change workers | go on to the server | `tests/command/faults.rs` `other_signals_go_to_the_worker_that_serves` |
//!
//! unicorn itself runs under `heirloom run --stop-signal QUIT --ready http=/`, which then has its master
//! replaced.
//!
//! # nginx
//!
//! | nginx | heirloom | shown by |
//! |---|---|---|
//! | `kill -USR2`, WINCH, QUIT: a new binary in three steps | one step, with a way back by itself | `tests/handover/deaths.rs` `the_successor_is_killed_in_probation` |
//! | `nginx -s reload` that fails with status 0 | `heirloom restart` fails with the reason | `tests/operate/commands.rs` `every_way_to_fail_has_its_exit_status` |
//! | `worker_shutdown_timeout` | [`drain_timeout`](crate::Builder::drain_timeout) | `tests/clients/slow.rs` `g5_one_that_stops_reading_is_cut_at_the_deadline` |
//! | closes idle connections at a reload | they move | `tests/moving/idle.rs` `ten_thousand_idle_connections_through_five_restarts` |
//!
//! # Server::Starter
//!
//! | `start_server` | `heirloom run` | shown by |
//! |---|---|---|
//! | `--port 127.0.0.1:80`, `--path` | `--listen 127.0.0.1:80`, `--listen unix:/path` | `tests/command/loads.rs` `perl_starlet` |
//! | `SERVER_STARTER_PORT`, `SERVER_STARTER_GENERATION` | the same, and `LISTEN_FDS` | `tests/command/run.rs` `sockets_are_where_they_were_asked_for_and_nothing_else_is_open` |
//! | HUP | the same; and `heirloom restart`, which tells the outcome | `tests/command/run.rs` `operators_restart_it_and_are_told_the_outcome` |
//! | `--interval` | `--ready after=1s`, or better a real sign: `notify`, `fd`, `http=` | `tests/command/faults.rs` `readiness_is_learnt_in_each_way` |
//! | `--envdir` | `--env-dir`, `--env-file` | `tests/command/run.rs` `the_environment_is_read_anew_and_a_bad_one_keeps_the_old_worker` |
//! | `--kill-old-delay` | `--stop-delay` | `tests/command/faults.rs` `signals_are_for_the_process_that_the_worker_names` |
//! | `--enable-auto-restart`, `--auto-restart-interval` | `--restart-every` | `tests/command/faults.rs` `restarts_come_by_the_clock` |
//! | `--pid-file`, `--status-file` | the same | `tests/command/run.rs` `the_status_file_follows_the_workers` |
//! | `--restart`, `--stop` | `heirloom restart`, `heirloom stop`, each with `--pid-file` | `tests/supervisor/control.rs` `heirloom_run_is_operated_by_its_own_command` |
//!
//! What is different, and why:
//!
//! * **`--signal-on-hup` and `--signal-on-term`** are one `--stop-signal`. A server is told to finish in
//!   either case; the deadlines differ (`--drain-timeout`, `--shutdown-timeout`), not the word. Where a
//!   server needs another signal at the end of the service than at a restart, wrap it in a script that traps
//!   one.
//! * **`--daemonize`, `--log-file`**: not here. A service manager puts a process into the background and
//!   keeps its log; in a shell, `setsid heirloom run ... >>log 2>&1 </dev/null &` does.
//! * **A bare port** (`--port 80`) is refused: write `0.0.0.0:80` or `127.0.0.1:80`. Which of the two is
//!   meant decides who can connect. So the keys in `SERVER_STARTER_PORT` are always `ADDRESS:PORT`; a server
//!   that looks for `80` there wants the address.
//! * **`[127.0.0.1]:80`** is refused, since brackets are for IPv6: write `127.0.0.1:80`.
//! * **`--port N=FD` with FD 0, 1 or 2** is refused: those are the standard streams. From 3 on any number
//!   may be chosen.
//! * **Unix sockets** have the mode that the umask leaves, unless `--socket-mode` says another;
//!   Server::Starter's are writable for everybody.
//! * **Deadlines**: where Server::Starter waits for ever, `heirloom run` waits for 60 s (a start, a drain)
//!   or 9 s (a stop). `--start-timeout`, `--drain-timeout` and `--shutdown-timeout` take any time.
//! * **A start that fails** after a HUP is tried once, and its failure is told to whoever asked; the old
//!   server serves on. Server::Starter tries again and again. The *first* server, and one that has died, is
//!   started again and again with a backoff.
//!
//! ---
//!
//! Before: [`messages`](super::messages). Next: [`guarantees`](super::guarantees).
