//! nginx and HAProxy in front, with keep-alive to the server behind them: across twenty restarts neither sees an error,
//! and neither loses a connection.
//!
//! Where one is not installed its test says so and passes, unless `CI=true`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use support::beside::{Beside, is_installed, number};
use support::load::{Load, Mode, Report, Target, Think};
use support::{Server, Setup, Signal, alone, proc};

#[test]
fn g2_nginx_in_front() {
    if !is_installed("nginx", "-v") {
        return;
    }
    let _alone = alone();
    let server = hello();
    let front = Front::listen();
    // Else a master that is root gives its workers to a user who may not enter the test's directory.
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let config = front.configure(&server, &NGINX.replace("@USER@", user));
    let mut command = Command::new("nginx");
    command.arg("-p").arg(server.dir()).arg("-c").arg(config);
    // As it hands its sockets down itself at its own upgrades.
    command.env("NGINX", format!("{};", number(&front.listener)));
    let (mut nginx, address) = front.accepted_by(&mut command);
    restart_twenty_times(&server, address);
    nginx.end().unwrap();
    // At level warn an uneventful life leaves no line; that lines arrive here at all, the last one shows.
    let lines = nginx.lines("");
    let events: Vec<_> = lines.iter().filter(|line| !line.contains("[notice]")).collect();
    assert!(events.is_empty(), "{events:?}");
    assert!(lines.iter().any(|line| line.contains("exit")), "{lines:?}");
}

#[test]
fn g2_haproxy_in_front() {
    if !is_installed("haproxy", "-v") {
        return;
    }
    let _alone = alone();
    let server = hello();
    let front = Front::listen();
    let config = front.configure(&server, HAPROXY);
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).current_dir(server.dir());
    let (mut haproxy, address) = front.accepted_by(&mut command);
    let report = restart_twenty_times(&server, address);
    let stats = stats(&server.dir().join("stats.sock"));
    for errors in ["econ", "eresp", "wretr", "wredis", "cli_abrt", "srv_abrt"] {
        assert_eq!(column(&stats, errors), 0, "{errors} in {stats}");
    }
    println!("haproxy: {} connects, {} reuses", column(&stats, "connect"), column(&stats, "reuse"));
    haproxy.end().unwrap();
    let logged = haproxy.lines(" hello/it ");
    // Nobody ended early: not the client (C), not the server (S), not the proxy for any reason of its own.
    let ended_early: Vec<_> =
        logged.iter().filter(|line| !line.contains(" 200 ") || !line.contains(" ---- ")).collect();
    assert!(ended_early.is_empty(), "{ended_early:?}");
    // HAProxy drops lines that a pipe has no room for, where nobody is there to read it in time; it counts without loss.
    assert!(!logged.is_empty() && logged.len() as u64 <= report.requests, "{} lines", logged.len());
    assert_eq!(column(&stats, "hrsp_2xx"), report.requests, "{stats}");
}

/// The socket that the proxy accepts from. It is the test's: then there is no port that another could take meanwhile,
/// and no start to wait for.
struct Front {
    listener: TcpListener,
    address: SocketAddr,
}

impl Front {
    fn listen() -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        Front { listener, address }
    }

    fn configure(&self, server: &Server, template: &str) -> std::path::PathBuf {
        let path = server.dir().join("proxy.conf");
        let config = template
            .replace("@FRONT@", &self.address.to_string())
            .replace("@FD@", &number(&self.listener).to_string())
            .replace("@BACK@", &server.target().to_string());
        std::fs::write(&path, config).expect("a config");
        path
    }

    /// Starts the proxy; from then on the socket is the proxy's alone.
    fn accepted_by(self, proxy: &mut Command) -> (Beside, SocketAddr) {
        (Beside::start_with(proxy, &self.listener), self.address)
    }
}

fn restart_twenty_times(server: &Server, front: SocketAddr) -> Report {
    let Target::Tcp(back) = *server.target() else { unreachable!("it listens on TCP") };
    let load = Load::start(&Target::Tcp(front), Mode::keep_alive(32, Think::millis(0, 20)), "/");
    load.wait_for_requests(2000);
    let before = proc::clients_of(back.port());
    for signal in [Signal::SIGHUP, Signal::SIGUSR2].into_iter().cycle().take(20) {
        let old = server.pid();
        server.restart(signal);
        server.wait_for_exit(old);
    }
    load.wait_for_requests(2000);
    let after = proc::clients_of(back.port());
    let report = load.stop();
    println!("{}\n{report}   (20 restarts)", Report::HEADER);
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    assert_eq!(server.generation(), 21);
    let lost: Vec<_> = before.difference(&after).collect();
    println!("{} connections to the server before, {} after", before.len(), after.len());
    assert!(!before.is_empty() && lost.is_empty(), "closed: {lost:?}");
    report
}

fn hello() -> Server {
    Setup::hello().args(&["--probation", "200ms"]).start()
}

/// HAProxy's counters of the server behind it: the names, then the values.
fn stats(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("a stats socket");
    stream.write_all(b"show stat hello 4 -1\n").expect("open");
    let mut stats = String::new();
    stream.read_to_string(&mut stats).expect("the counters");
    stats
}

fn column(stats: &str, name: &str) -> u64 {
    let mut lines = stats.lines();
    let names = lines.next().unwrap_or_default().trim_start_matches("# ").split(',');
    let values = lines.next().unwrap_or_default().split(',');
    let value = names.zip(values).find(|(column, _)| *column == name).map(|(_, value)| value);
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name:?} in {stats}"))
}

/// Nothing is tried twice, so nothing is hidden. No limit of its own ends a connection while the test runs.
const NGINX: &str = r#"
daemon off;
@USER@
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 10000000;
    upstream hello {
        server @BACK@;
        keepalive 64;
        keepalive_requests 10000000;
        keepalive_timeout 1h;
    }
    server {
        listen @FRONT@;
        location / {
            proxy_pass http://hello;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }
    }
}
"#;

const HAPROXY: &str = r#"
global
    log stdout format raw local0
    stats socket unix@stats.sock mode 600 level admin
    maxconn 512
    nbthread 1
defaults
    mode http
    log global
    option httplog
    retries 0
    timeout connect 30s
    timeout client 1h
    timeout server 1h
    http-reuse always
frontend front
    bind fd@@FD@
    default_backend hello
backend hello
    server it @BACK@ pool-purge-delay 1h
"#;
