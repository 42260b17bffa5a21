//! For threads that wait for the next request of a connection.

use std::io::{self, BufReader};
use std::time::Duration;

use heirloom::{BlockingConnection, Waited};

/// Waits for the next request; `false` if the process drains instead.
pub fn is_asked(stream: &BufReader<BlockingConnection>) -> io::Result<bool> {
    // What was read ahead is one already.
    Ok(!stream.buffer().is_empty() || stream.get_ref().wait()? == Waited::Readable)
}

/// To the next process, if there is one. Else what the client may have asked already is answered.
pub fn move_on(
    stream: BufReader<BlockingConnection>,
    answer: impl FnOnce(&mut BufReader<BlockingConnection>) -> io::Result<bool>,
) -> io::Result<()> {
    // Nobody has asked, so nothing was read ahead.
    let Err(stays) = stream.into_inner().move_on(Vec::new(), None) else { return Ok(()) };
    stays.set_read_timeout(Some(LINGER))?;
    answer(&mut BufReader::new(stays)).map(drop)
}

/// A request that was sent before its client could know of the stop has come by then.
const LINGER: Duration = Duration::from_secs(1);
