//! A small disk, of one server alone, for its pid file and its control socket.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use support::{Server, Setup, namespaces, proc};

/// Where it is, in the server's own mount namespace, with which it ends.
pub struct Disk(PathBuf);

impl Disk {
    /// None for whoever may not mount one.
    pub fn there_may_be() -> bool {
        namespaces::may_mount()
    }

    /// The disk of a server to be, and the words that start it there.
    pub fn of(setup: &Setup) -> (Disk, Vec<String>) {
        let at = setup.dir().join("disk");
        fs::create_dir(&at).expect("a directory");
        let mount = "mount -t tmpfs -o size=16k,nr_inodes=32 heirloom-test \"$0\" && exec \"$@\"";
        let words = ["unshare", "--mount", "sh", "-c", mount].map(str::to_owned).into_iter();
        (Disk(at.clone()), words.chain([at.display().to_string()]).collect())
    }

    pub fn options(&self) -> [String; 4] {
        let path = |name| self.0.join(name).display().to_string();
        ["--pid-file".to_owned(), path(PID_FILE), "--control".to_owned(), path(CONTROL)]
    }

    /// Leaves no byte of it, or neither byte nor name for a file.
    pub fn fill(&self, server: &Server, with_names: bool) {
        let here = self.seen_through(server);
        let mut file = File::create(here.join(FILLING)).expect("a name on the disk");
        for length in [4096, 1] {
            while file.write(&vec![1; length]).is_ok() {}
        }
        let mut names = 0..;
        while with_names
            && File::create(here.join(format!("{FILLING}.{}", names.next().expect("more")))).is_ok()
        {}
    }

    pub fn make_room(&self, server: &Server) {
        let here = self.seen_through(server);
        let entries = fs::read_dir(here).expect("a disk").map(|entry| entry.expect("an entry").path());
        let filling = entries.filter(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(FILLING.as_bytes()))
        });
        filling.for_each(|path| fs::remove_file(path).expect("it is there"));
    }

    /// What is wrong with the pid file, if anything is.
    pub fn wrong_pid_file(&self, server: &Server, master: i32) -> Option<String> {
        let said = fs::read_to_string(self.seen_through(server).join(PID_FILE));
        let said = said.unwrap_or_else(|error| error.to_string());
        (said.trim() != master.to_string()).then(|| format!("the pid file says {said:?}"))
    }

    /// And with the path of the control socket.
    pub fn wrong_control_path(&self, server: &Server, master: i32) -> Option<String> {
        let leads_to = fs::read_link(self.seen_through(server).join(CONTROL)).unwrap_or_default();
        let own = format!("{CONTROL}.{master}.heirloom");
        (leads_to != Path::new(&own)).then(|| format!("the control path leads to {leads_to:?}"))
    }

    /// Any of its processes has it in its namespace.
    fn seen_through(&self, server: &Server) -> PathBuf {
        let pid =
            server.processes().into_iter().find(|pid| proc::is_alive(*pid)).expect("a server that runs");
        let inside = self.0.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(pid.to_string()).join("root").join(inside)
    }
}

const PID_FILE: &str = "pid";
const CONTROL: &str = "control";
const FILLING: &str = "filling";
