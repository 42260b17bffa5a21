//! Data in memory that go from one process to the next. No write is lost, and none that was answered is
//! missed by a read.
//!
//! Only one process at a time has the data. A new one answers no command before the old one is done: those
//! who have asked it wait, as do those whose connections have moved. How long that is, is in [`restarter`].

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use heirloom::drain::Connection;
use heirloom::stream::Stream;
use heirloom::{NameTooLong, Restarter, StartError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::SetOnce;

use crate::resp::{self, Data, Words};

/// For a server whose new connections wait until the old process has ended.
pub fn restarter() -> Result<Restarter, StartError> {
    // A new process that dies at once is noticed still. Nobody should wait for longer.
    let probation = Duration::from_millis(50);
    // Only a client that stops in the middle of a command takes that long.
    let drain_timeout = Duration::from_secs(5);
    Restarter::builder().probation(probation).drain_timeout(drain_timeout).start()
}

/// The data, once they are here.
#[derive(Debug, Default)]
pub struct Kept(SetOnce<Data>);

impl Kept {
    /// Has the data come from the process before, and go to the one after.
    pub fn over_restarts(restarter: &Restarter) -> Result<Arc<Kept>, NameTooLong> {
        let kept = Arc::<Kept>::default();
        let (taken, told) = (kept.clone(), kept.clone());
        // Asked for before ready: a process without connections may be gone right after.
        let before = restarter.final_state("data");
        // This process does not end before it has what it is to hand on.
        let hold = restarter.hold();
        tokio::spawn(async move {
            let data = Data::default();
            match before.await {
                Ok(state) => replay(state.as_deref().unwrap_or_default(), &data).await,
                Err(error) => eprintln!("the data of the process before are lost: {error}"),
            }
            let _ = taken.0.set(data);
            drop(hold);
        });
        restarter.provide_final_state("data", 1, move |out| match told.0.get() {
            Some(data) => out.write_all(&data.commands()),
            None => Ok(()),
        })?;
        Ok(kept)
    }

    /// Does what a command says once the data are here, and answers it.
    pub async fn answer(&self, command: &[Vec<u8>]) -> Vec<u8> {
        self.0.wait().await.answer(command)
    }
}

async fn replay(mut commands: &[u8], data: &Data) {
    while let Ok(Some(command)) = resp::command(&mut commands).await {
        data.answer(&command);
    }
}

/// A client's connection, read ahead.
pub type Asking = BufReader<Connection<Stream>>;

/// Reads the next command; `None` at the end, or if the process drains instead.
pub async fn command(stream: &mut Asking) -> io::Result<Option<Words>> {
    let draining = stream.get_ref().draining();
    tokio::select! {
        biased;
        () = draining => return Ok(None),
        read = stream.fill_buf() => read?,
    };
    resp::command(stream).await
}

/// To the next process, with the commands that were read and not obeyed. Without one the connection closes.
pub async fn move_on(stream: Asking) -> io::Result<()> {
    let unread = stream.buffer().to_vec();
    match stream.into_inner().move_on(unread, None).await {
        Ok(()) => Ok(()),
        Err(stays) => stays.close().await,
    }
}
