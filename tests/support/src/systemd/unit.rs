//! Services of the systemd under test.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::binary::{Binary, TestDir};
use super::super::load::{Answer, Target, fetch};
use super::super::programs::{checkout, heirloom};
use super::super::{PATIENCE, says};
use super::Systemd;

/// A service of it. Stopped and forgotten when dropped.
#[derive(Debug)]
pub struct Unit {
    systemd: &'static Systemd,
    pub name: String,
    /// What restarts execute.
    pub binary: Binary,
    dir: TestDir,
}

impl Systemd {
    /// Installs a unit file that we ship, with the example `unit` in the place of its program.
    pub fn shipped(&'static self, name: &str, change: impl Fn(String) -> String) -> Unit {
        let unit = self.service(name, "", "");
        let path = checkout(&format!("examples/deploy/systemd/{name}.service"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let log = unit.log_path();
        let text = text.replace("/usr/local/bin/server", &unit.binary.path().display().to_string());
        let text = text.replace("/usr/bin/heirloom", &heirloom().display().to_string());
        // What would ask for the rest of a machine, and another user's way to the directory of this test.
        let ours = |line: &&str| {
            !["DynamicUser", "ProtectHome", "Wants", "After"].iter().any(|word| line.starts_with(word))
        };
        let text: String = text.lines().filter(ours).map(|line| format!("{line}\n")).collect();
        let log = format!("StandardOutput=append:{0}\nStandardError=append:{0}\n", log.display());
        let text = text.replace("[Service]\n", &format!("[Service]\n{log}"));
        self.install(
            &format!("{name}.service"),
            &change(text.replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n")),
        );
        unit
    }

    /// Installs a service that runs the example `unit` with these arguments. `section`: further lines of `[Service]`.
    pub fn service(&'static self, name: &str, arguments: &str, section: &str) -> Unit {
        self.service_under(name, "", arguments, section)
    }

    /// The same, started by the command with these arguments.
    pub fn service_under(&'static self, name: &str, under: &str, arguments: &str, section: &str) -> Unit {
        let dir = TestDir::new();
        let binary = Binary::install("unit", &dir.path().join("bin/unit"));
        let unit = Unit { systemd: self, name: name.to_owned(), binary, dir };
        let mut text = String::from("[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\n");
        let (program, log) = (unit.binary.path().display(), unit.log_path());
        let log = log.display();
        let command = heirloom().display();
        let under = if under.is_empty() { String::new() } else { format!("{command} {under} -- ") };
        let _ = writeln!(text, "ExecStart={under}{program} {arguments}");
        // systemd itself asks for the restart there, and the server would make another one.
        if !section.contains("Type=notify-reload") {
            let _ = writeln!(text, "ExecReload={command} restart --pid $MAINPID");
        }
        let _ = writeln!(text, "ExecStop=-{command} stop --pid $MAINPID");
        let _ = writeln!(text, "StandardOutput=append:{log}\nStandardError=append:{log}\nLimitCORE=0");
        if !section.contains("Type=") {
            text.push_str("Type=notify\n");
        }
        if !section.contains("NotifyAccess=") {
            text.push_str("NotifyAccess=all\n");
        }
        text.push_str(section);
        self.install(&format!("{name}.service"), &text);
        unit
    }
}

impl Unit {
    pub fn start(&self) {
        self.systemd.expect(&["systemctl", "start", &self.name]);
    }

    /// Whether `systemctl reload` says that it went well.
    pub fn reload(&self) -> bool {
        self.systemd.run(&["systemctl", "reload", &self.name]).status.success()
    }

    pub fn stop(&self) {
        self.systemd.expect(&["systemctl", "stop", &self.name]);
    }

    /// One of its properties.
    pub fn show(&self, property: &str) -> String {
        self.systemd.expect(&["systemctl", "show", "--value", "--property", property, &self.name])
    }

    pub fn main_pid(&self) -> i32 {
        self.show("MainPID").parse().expect("a process id")
    }

    /// Waits until a property is as wanted. Asks and asks: only D-Bus would tell, and there is none.
    #[track_caller]
    pub fn wait_for(&self, property: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.show(property);
            if is_wanted(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{property} of {} is still {value}", self.name);
            // allow: sleep (between questions that each start a process)
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until one of its processes has said this. Asks and asks, since they write to a file.
    #[track_caller]
    pub fn wait_for_word(&self, word: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(word) {
            assert!(Instant::now() < deadline, "{} never said {word:?}", self.name);
            // allow: sleep (between looks at a file)
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to one of its processes, by the number that the process itself knows.
    pub fn kill(&self, signal: &str, pid: i32) {
        self.systemd.expect(&["kill", "-s", signal, &pid.to_string()]);
    }

    /// Waits until one of its processes is gone. Asks and asks: it is nobody's child here.
    #[track_caller]
    pub fn wait_for_exit(&self, pid: i32) {
        let deadline = Instant::now() + PATIENCE;
        while self.systemd.run(&["kill", "-0", &pid.to_string()]).status.success() {
            assert!(Instant::now() < deadline, "process {pid} of {} is still there", self.name);
            // allow: sleep (between questions that each start a process)
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens, by the last of its processes that has said so.
    pub fn targets(&self) -> Vec<Target> {
        let log = self.log();
        let said = log.lines().filter_map(|line| line.split(says::LISTENING).nth(1));
        // A supervisor says it with a name behind.
        let addresses = said.filter_map(|rest| rest.split_whitespace().next());
        addresses.map(|address| address.parse().expect("an address")).collect()
    }

    pub fn target(&self) -> Target {
        self.targets().pop().expect("a server that listens")
    }

    /// The body at `path`, asked for on a fresh connection.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let target = self.target();
        fetch(&target, path, PATIENCE)
            .unwrap_or_else(|error| panic!("GET {path} from {target}: {error}"))
            .body
    }

    pub fn try_get(&self, path: &str) -> std::io::Result<Answer> {
        fetch(&self.target(), path, PATIENCE)
    }

    /// The process that answers, by the number that it has itself.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.get("/pid").parse().expect("a process id")
    }

    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.get("/generation").parse().expect("a number")
    }

    /// Everything that its processes have said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.systemd.run(&["systemctl", "status", "--no-pager", &self.name]);
            eprintln!("--- {}:\n{}", self.name, String::from_utf8_lossy(&status.stdout));
            eprintln!("--- its log:\n{}--- systemd:\n{}---", self.log(), self.systemd.log.dump());
        }
        self.systemd.run(&["systemctl", "kill", "--signal=KILL", &self.name]);
        self.systemd.run(&["systemctl", "stop", &self.name]);
        self.systemd.run(&["systemctl", "reset-failed", &self.name]);
        let _ = fs::remove_file(self.systemd.dir.join("units").join(format!("{}.service", self.name)));
    }
}
