//! A real systemd, as PID 1 of namespaces of its own: one for all tests of a file, gone with the process that runs them.
//!
//! It shares the network with the test, so that clients reach its services as they reach any other. Its own words come
//! through a FIFO in the place of /dev/kmsg, where it writes them while there is no journal. /tmp, /run and /var are its own:
//! a unit that pulls in systemd-tmpfiles would empty the machine's.
//!
//! `HEIRLOOM_SYSTEMD=DIR` takes another systemd than the machine's: its packages (systemd and libsystemd-shared) unpacked there,
//! as with `dpkg-deb -x`. `scripts/newer-systemd.sh` does that, and what needs a newer one finds it there.

mod queue;
mod unit;

use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

pub use queue::{Waiting, answered_by_another, ask, queue};
pub use unit::Unit;

use super::beside::is_installed;
use super::log::Log;
use super::programs::scratch;
use super::skip;
use super::{PATIENCE, namespaces, proc};

/// Where `scripts/newer-systemd.sh` puts its own.
fn cached() -> PathBuf {
    let user = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = user("XDG_CACHE_HOME").or_else(|| user("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_default().join("heirloom/newer-systemd")
}

/// The running manager.
#[derive(Debug)]
pub struct Systemd {
    /// Its process, as it is seen from outside.
    init: i32,
    /// systemd's own.
    pub version: u32,
    dir: PathBuf,
    log: Arc<Log>,
}

impl Systemd {
    /// Boots it, if that has not happened yet. Nothing, said loudly, where it is not installed or this is not root.
    pub fn get() -> Option<&'static Systemd> {
        static INSTANCE: OnceLock<Option<Systemd>> = OnceLock::new();
        INSTANCE.get_or_init(|| boot(std::env::var_os("HEIRLOOM_SYSTEMD").as_deref().map(Path::new))).as_ref()
    }

    /// One of this version at least: [`get`](Systemd::get)'s, or else the one that was unpacked beside the machine's.
    ///
    /// # Panics
    /// When there is none under `CI=true`.
    pub fn of_version(wanted: u32) -> Option<&'static Systemd> {
        static INSTANCE: OnceLock<Option<Systemd>> = OnceLock::new();
        let own = Systemd::get()?;
        if own.version >= wanted {
            return Some(own);
        }
        let unpacked = cached();
        if !unpacked.is_dir() {
            let version = own.version;
            skip(&format!(
                "this needs systemd {wanted}, and this is {version}: scripts/newer-systemd.sh gets one"
            ));
            return None;
        }
        let newer = INSTANCE.get_or_init(|| boot(Some(&unpacked))).as_ref()?;
        assert!(newer.version >= wanted, "{} is in {}", newer.version, unpacked.display());
        Some(newer)
    }

    /// Runs a command beside its services, in their directory of run-time files.
    pub fn run(&self, command: &[&str]) -> Output {
        let target = self.init.to_string();
        let spaces = ["--target", &target, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"];
        let mut command_line = Command::new("timeout");
        command_line.arg(PATIENCE.as_secs().to_string()).arg("nsenter").args(spaces).args(command);
        command_line.stdin(Stdio::null()).output().expect("nsenter and timeout, of every Debian")
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub fn expect(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What it has said so far that contains `pattern`.
    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.log.find(0, pattern)
    }

    /// What the descriptors of a process lead to, by the number that the process itself knows.
    pub fn descriptors(&self, pid: i32) -> Vec<String> {
        let listed = self.expect(&["find", &format!("/proc/{pid}/fd"), "-type", "l", "-printf", "%l\\n"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// How many lines it has said so far.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// Waits until it says `pattern`, after `mark`.
    pub fn wait_for_line(&self, mark: usize, pattern: &str) -> String {
        let found = self.log.wait_for(mark, &[pattern], 1, PATIENCE);
        found.unwrap_or_else(|| panic!("systemd never said {pattern:?}")).swap_remove(0)
    }

    /// Stops systemd itself, or lets it go on.
    pub fn freeze(&self, on: bool) {
        let signal = if on { super::Signal::SIGSTOP } else { super::Signal::SIGCONT };
        proc::signal(self.init, signal);
    }

    /// Installs a unit file.
    pub fn install(&self, name: &str, text: &str) {
        fs::write(self.dir.join("units").join(name), text).expect("a unit file");
        self.expect(&["systemctl", "daemon-reload"]);
    }
}

/// `unpacked`: where another systemd than the machine's is.
fn boot(unpacked: Option<&Path>) -> Option<Systemd> {
    if !is_installed("systemctl", "--version") {
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("a systemd in namespaces of its own is for root alone");
        return None;
    }
    // Nothing removes it at the end: its process is killed when this one is gone.
    static BOOTED: AtomicU32 = AtomicU32::new(0);
    let number = BOOTED.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-{number}", std::process::id());
    let dir = scratch().join(format!("systemd-{id}"));
    remove_old(dir.parent().expect("a directory"));
    fs::create_dir_all(dir.join("units")).expect("a directory for units");
    fs::write(dir.join("units/boot.target"), "[Unit]\nDefaultDependencies=no\n").expect("a target");
    fs::write(dir.join("boot"), BOOT).expect("a script");
    let kmsg = dir.join("kmsg");
    mkfifo(&kmsg, Mode::from_bits_truncate(0o600)).expect("a FIFO");
    let log = Log::new();
    // For writing as well, so that it has no end.
    let reader = File::options().read(true).write(true).open(&kmsg).expect("a FIFO to read");
    log.follow("systemd", reader);

    let name = format!("heirloom-boot-{id}");
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let booted = UnixDatagram::bind_addr(&address).expect("a socket to hear of the boot");
    booted.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let program = |command: &mut Command| {
        command.arg("sh").arg(dir.join("boot")).arg(&dir).args(unpacked);
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    };
    let nanny = namespaces::boot(&[], program, |_| ());
    // It tells the manager of its container, as a service would tell it.
    let mut buffer = [0; 4096];
    loop {
        let length = booted.recv(&mut buffer).unwrap_or_else(|error| {
            panic!("systemd has not booted: {error}\n{}", log.dump());
        });
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") {
            break;
        }
    }
    let init = *proc::children(nanny).first().expect("a systemd below unshare");
    let mut systemd = Systemd { init, version: 0, dir, log };
    let version = systemd.expect(&["systemctl", "--version"]);
    let version = version.split_whitespace().nth(1).and_then(|number| number.split('.').next()?.parse().ok());
    systemd.version = version.expect("a number");
    println!("systemd {} runs as process {init}", systemd.version);
    Some(systemd)
}

/// What processes have left that are gone.
fn remove_old(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix("systemd-")?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What runs as PID 1 before it becomes systemd. Not the machine's own units: only what the tests install.
const BOOT: &str = r#"set -e
dir=$1
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$dir/kmsg" /dev/kmsg
if [ -n "$2" ]; then
    mount --bind "$2/lib/systemd" /lib/systemd
    for program in "$2"/bin/* "$2"/usr/bin/*; do
        own=/usr/bin/${program##*/}
        [ ! -f "$own" ] || mount --bind "$program" "$own"
    done
    for libraries in "$2"/usr/lib/*-linux-gnu/systemd; do
        mount --bind "$libraries" "${libraries#"$2"}"
    done
fi
# What the tests have built and what they write stays where it is, even if that is below one of these.
target=$(dirname "$(dirname "$dir")")
mkdir -p /run/systemd /run/target
mount --bind "$target" /run/target
for own in /tmp /var; do
    mount -t tmpfs -o mode=1777 tmpfs $own
done
mkdir -p /var/tmp /var/lib /var/log /var/cache "$target"
chmod 1777 /var/tmp
ln -s /run /var/run
mount --bind /run/target "$target"
ln -s "$dir/units" /run/systemd/system
for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ ! -x $systemd ] || break
done
exec env -i container=heirloom PATH="$PATH" NOTIFY_SOCKET="$NOTIFY_SOCKET" \
    $systemd --system --unit=boot.target --log-target=kmsg --show-status=0
"#;
