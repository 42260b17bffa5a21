//! A server's processes: started, restarted, and ended by their numbers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heirloom::control::{Client, Reply, Request, socket_of};
use heirloom::quic::quinn::rustls::pki_types::CertificateDer;
use heirloom_bench::proc;
use nix::sys::signal::Signal;

use crate::Failable;

/// How long a restart may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `examples/quic.rs`.
    Example,
    /// The same endpoint, with answers of any size.
    Sized,
    /// quinn on a socket that both generations read.
    Plain,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    /// The process that serves.
    pub(crate) serving: i32,
    log: Arc<Mutex<Vec<String>>>,
    settled: Receiver<i32>,
    folder: PathBuf,
}

/// Datagrams that nobody got.
pub(crate) struct Dropped {
    /// For an older generation that does not read as fast as they come.
    pub(crate) on_the_way: u64,
    /// For want of room in the socket.
    pub(crate) by_the_kernel: u64,
}

impl Server {
    pub(crate) fn start(kind: Kind, options: &[&str]) -> Failable<Server> {
        let this = std::env::current_exe()?;
        let folder = this.with_file_name(format!("bench-quic.{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let mut command = match kind {
            Kind::Example => {
                let mut command = Command::new(this.with_file_name("quic"));
                command.args(["--drain-timeout", "100s"]);
                command
            }
            Kind::Sized | Kind::Plain => {
                let mut command = Command::new(&this);
                command.arg("serve").args((kind == Kind::Plain).then_some("--plain"));
                command
            }
        };
        command.args(["--listen", "127.0.0.1:0"]).arg("--cert").arg(&cert).arg("--key").arg(&key);
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let serving = child.id() as i32;
        let (log, (settles, settled)) = (Arc::<Mutex<Vec<String>>>::default(), channel());
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in errors.lines().map_while(Result::ok) {
                    if let Some(pid) = line.contains("successor settled").then(|| pid_in(&line)).flatten() {
                        let _ = settles.send(pid);
                    }
                    log.lock().expect("whole").push(line);
                }
            }
        });
        // Kept open: later generations print to it, too.
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        std::thread::spawn(move || output.lines().for_each(drop));
        let address = line.trim().rsplit(' ').next().and_then(|address| address.parse().ok());
        let Some(address) = address else {
            return Err(format!("{kind:?} does not start: {:?}", log.lock().expect("whole")).into());
        };
        let certificate = made.cert.der().clone();
        Ok(Server { address, certificate, serving, log, settled, folder })
    }

    /// From the signal until the new process is the service.
    pub(crate) fn restart(&mut self) -> Failable<(Instant, Instant)> {
        let begin = Instant::now();
        proc::signal(self.serving, Signal::SIGUSR2);
        let Ok(new) = self.settled.recv_timeout(PATIENCE) else {
            return Err(format!("no successor settles: {:#?}", self.tail()).into());
        };
        self.serving = new;
        Ok((begin, Instant::now()))
    }

    /// What was dropped so far. A plain socket forwards nothing.
    pub(crate) fn dropped(&self) -> Failable<Dropped> {
        let deadline = Some(Instant::now() + PATIENCE);
        let socket = socket_of(self.serving.cast_unsigned())?;
        let Some(Reply::Status(status)) = Client::ask(&socket, &Request::Status, deadline)?.next(deadline)?
        else {
            return Err("no status".into());
        };
        let details = status.generations.iter().filter_map(|generation| generation.detail.as_ref());
        let on_the_way = details.flat_map(|detail| &detail.flows).map(|flows| flows.dropped).sum();
        Ok(Dropped { on_the_way, by_the_kernel: self.dropped_by_the_kernel()? })
    }

    fn dropped_by_the_kernel(&self) -> Failable<u64> {
        let port = format!(":{:04X}", self.address.port());
        let table = std::fs::read_to_string("/proc/net/udp")?;
        let of_port =
            table.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&port)));
        Ok(of_port.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum())
    }

    /// What the processes have said last.
    pub(crate) fn tail(&self) -> Vec<String> {
        let log = self.log.lock().expect("whole");
        log[log.len().saturating_sub(20)..].to_vec()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The subreaper is this process: those whose parent has gone are its children, and a number is not
        // another's before it was waited for. One that nobody has heard of is among them in the end.
        let this = std::process::id() as i32;
        loop {
            let children = proc::children(this);
            if children.is_empty() {
                break;
            }
            for pid in children {
                proc::signal_if_there(pid, Signal::SIGKILL);
                let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            }
        }
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// The number in `pid=…`.
fn pid_in(line: &str) -> Option<i32> {
    let (_, rest) = line.split_once("pid=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
