//! A successor that waits, before it becomes what it is to be, until the test lets it go on.

use std::fs::File;
use std::io::Write;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Server;
use super::programs::example_path;

/// What is started in the place of the server waits behind it.
#[derive(Debug)]
pub struct Gate {
    fifo: File,
    /// What comes to lie in the place of the gate.
    example: String,
}

/// What it says as soon as it runs.
pub const WAITS: &str = "waits at the gate";

impl Gate {
    /// Behind it comes `then`, a line of shell, and in the place of the whole this example.
    pub fn before(server: &Server, then: &str, example: &str) -> Gate {
        let path = server.dir().join("gate");
        mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
        server.binary.become_script(&format!("echo {WAITS}; read line <'{}'; {then}", path.display()));
        // For both, so that no open waits for the other side.
        let fifo = File::options().read(true).write(true).open(path).expect("a FIFO to open");
        Gate { fifo, example: example.to_owned() }
    }

    /// Behind it comes this example.
    pub fn before_example(server: &Server, example: &str) -> Gate {
        Gate::before(server, &format!("exec '{}' \"$@\"", example_path(example).display()), example)
    }

    /// For the one that waits; what is started from now on finds none.
    pub fn open(&mut self, server: &Server) {
        server.binary.become_example(&self.example);
        self.fifo.write_all(b"go\n").expect("room for a line");
    }
}
