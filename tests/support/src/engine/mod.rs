//! A real container engine (podman) with a real OCI runtime (crun), and the image of `examples/deploy/docker/Dockerfile`.
//!
//! The engine lives in namespaces of its own, with its storage in memory: everything is gone with the process that runs the
//! tests, and nothing of the machine's own containers, networks and control groups is seen or touched. What it is not told:
//! control groups (the runtime makes none: that would need more rights than a machine for tests may have).

mod container;
mod image;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use container::{Container, target};
pub use image::Dockerfile;

use super::beside::is_installed;
use super::skip;
use super::{PATIENCE, namespaces, proc};

/// The engine, with the image built.
#[derive(Debug)]
pub struct Engine {
    /// The first process of its namespaces, as it is seen from outside.
    init: i32,
    /// Whether ports of containers can be published: the kernel has to translate addresses for that.
    pub publishes: bool,
}

impl Engine {
    /// Boots it, if that has not happened yet, and builds the image. Nothing, said loudly, where it is not installed or this
    /// is not root.
    pub fn get() -> Option<&'static Engine> {
        static INSTANCE: OnceLock<Option<Engine>> = OnceLock::new();
        INSTANCE.get_or_init(boot).as_ref()
    }

    /// A command beside the containers.
    pub fn command<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Command {
        let target = self.init.to_string();
        let mut command_line = Command::new("nsenter");
        command_line
            .args(["--target", &target, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--"]);
        command_line.args(command).env("HOME", STATE).env("TMPDIR", STATE).stdin(Stdio::null());
        command_line
    }

    /// `podman` with these arguments.
    pub fn podman<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let patience = PATIENCE.as_secs().to_string();
        let mut command = self.command(["timeout", &patience].iter().chain(&PODMAN));
        command.args(arguments).output().expect("nsenter and timeout, of every Debian")
    }

    /// `podman` with these arguments, which must succeed; what it printed.
    #[track_caller]
    pub fn expect<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.podman(arguments);
        assert!(output.status.success(), "podman: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What this thread connects to from now on, and each thread that it starts, is in the network where ports are published.
    pub fn enter(&self) {
        enter_network(Path::new(&format!("/proc/{}/ns/net", self.init)));
    }

    /// What it says of a process, by the number that it knows itself.
    fn process(&self, pid: i32) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc/{pid}", self.init))
    }
}

fn boot() -> Option<Engine> {
    if !is_installed("podman", "--version") || !is_installed("crun", "--version") {
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("an engine in namespaces of its own is for root alone");
        return None;
    }
    let init = spawn();
    let mut engine = Engine { init, publishes: false };
    let nat = engine.command(["iptables", "-w", "-t", "nat", "-L", "-n"]).output();
    engine.publishes = nat.is_ok_and(|output| output.status.success());
    image::build(&engine);
    println!("podman runs below process {init}");
    Some(engine)
}

fn spawn() -> i32 {
    let program = |command: &mut Command| {
        command.args(["sh", "-c", BOOT, "boot", STATE]).stdout(Stdio::piped());
    };
    let nanny = namespaces::boot(&["--net"], program, |child| {
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a pipe");
        assert_eq!(said.trim(), "booted", "what the engine needs could not be mounted");
    });
    *proc::children(nanny).first().expect("a shell below unshare")
}

fn enter_network(path: &Path) {
    let network = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What runs as PID 1 of the engine's namespaces. A shell that waits, since a shell reaps what podman leaves behind.
const BOOT: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /var/lib/cni
mount -t tmpfs tmpfs /var/lib/cni
ip link set lo up
mkdir $1
echo booted
sleep infinity";

/// Where the engine keeps everything, in its own /run.
const STATE: &str = "/run/engine";

/// How it is called: storage that needs nothing from the kernel, no journal and no systemd.
const PODMAN: [&str; 13] = [
    "podman",
    "--root",
    "/run/engine/storage",
    "--runroot",
    "/run/engine/run",
    "--storage-driver",
    "vfs",
    "--cgroup-manager",
    "cgroupfs",
    "--events-backend",
    "none",
    "--runtime",
    "crun",
];
