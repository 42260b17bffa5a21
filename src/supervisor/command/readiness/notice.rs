//! What a datagram to `NOTIFY_SOCKET` says: lines of `NAME=VALUE`.

use std::time::Duration;

/// One line that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Ready,
    Stopping,
    Status(String),
    MainPid(i32),
    /// From now on.
    Extend(Duration),
}

/// The notices of one datagram, in order. Whatever else stands there is for other managers: the watchdog that
/// was not offered, descriptors that are not kept, barriers that are answered by closing what came along.
pub(super) fn parse(datagram: &[u8]) -> Vec<Notice> {
    let lines = datagram.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    let notices = lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        match (name, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", text) => Some(Notice::Status(readable(text))),
            ("MAINPID", pid) => pid.parse().ok().filter(|pid| *pid > 1).map(Notice::MainPid),
            ("EXTEND_TIMEOUT_USEC", time) => time.parse().ok().map(Duration::from_micros).map(Notice::Extend),
            _ => None,
        }
    });
    notices.collect()
}

/// For a log's line: what a terminal would obey is shown instead.
fn readable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_order_and_unknown_ones_skipped() {
        let datagram = b"STATUS=up \x1b[0m\nREADY=1\nWATCHDOG=1\nMAINPID=4711\nFDSTORE=1\nEXTEND_TIMEOUT_USEC=1500\nSTOPPING=1\n";
        let status = Notice::Status("up \u{fffd}[0m".to_owned());
        let extend = Notice::Extend(Duration::from_micros(1500));
        let notices = [status, Notice::Ready, Notice::MainPid(4711), extend, Notice::Stopping];
        assert_eq!(parse(datagram), notices);
    }

    #[test]
    fn nonsense_says_nothing() {
        for text in [
            "",
            "READY",
            "READY=0",
            "READY=11",
            "ready=1",
            "MAINPID=-1",
            "MAINPID=1",
            "MAINPID=x",
            "=\n=",
            "EXTEND_TIMEOUT_USEC=-1",
        ] {
            assert_eq!(parse(text.as_bytes()), [], "{text:?}");
        }
        assert_eq!(parse(b"\xff\xff=\xff\nREADY=1"), [Notice::Ready]);
    }
}
