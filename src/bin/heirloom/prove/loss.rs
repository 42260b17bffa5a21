//! What a server can lose: each kind with its name, what it looks like, and what usually causes it.

/// A kind of loss. The first ones are a client's, the last ones the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(clap::ValueEnum))]
pub(super) enum Loss {
    Refused,
    Unreachable,
    NeverAccepted,
    Forgotten,
    ClosedWhileIdle,
    CutOff,
    UploadCut,
    Unanswered,
    NotReady,
    TurnedAway,
    OtherAnswer,
    Garbled,
    Late,
    SessionCut,
    NoSuccessor,
    TwoGenerations,
    NeverEnds,
    Gone,
}

impl Loss {
    /// For reports that programs read; never changed.
    pub(super) fn name(self) -> &'static str {
        self.words().0
    }

    /// What has happened.
    pub(super) fn meaning(self) -> &'static str {
        self.words().1
    }

    /// What usually causes it, and what to do.
    pub(super) fn cause(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Loss::Refused => (
                "refused",
                "a connection was refused: nobody listened at that moment",
                "The old process closes its listening socket before the new one listens. Hand the socket itself down \
                 (as an inherited descriptor, or over a Unix socket), and close it in the old process only when the \
                 new one is ready.",
            ),
            Loss::Unreachable => (
                "unreachable",
                "a connection was not made in time: the kernel dropped the attempt",
                "The listening socket is there, and nobody accepts: its queue is full. Let the old process accept \
                 until the new one is ready, or make the backlog larger.",
            ),
            Loss::NeverAccepted => (
                "never-accepted",
                "the kernel had made the connection, and it was reset before the server read anything",
                "A listening socket was closed while connections waited in its queue: they are reset. With \
                 SO_REUSEPORT each process has a queue of its own, so hand one socket down instead; or go on accepting \
                 until the queue is empty before closing.",
            ),
            Loss::Forgotten => (
                "forgotten",
                "the server took a request, and closed the connection without a word of an answer",
                "The old process ends, or its connections are cancelled, while requests are in work. Stop accepting \
                 first, then wait for the requests in flight, up to a deadline, before exiting.",
            ),
            Loss::ClosedWhileIdle => (
                "closed-while-idle",
                "a connection that was kept open was closed without notice, and the next request on it was lost",
                "Idle connections are closed when the old process drains, and a request may be on its way. Answer the \
                 last request with `Connection: close` first (HTTP/2: GOAWAY in two steps), and close idle \
                 connections only after a while; or move them to the new process.",
            ),
            Loss::CutOff => (
                "cut-off",
                "an answer began, and ended before it was complete",
                "The old process ends while answers are still being written; clients that read slowly show it. Wait \
                 until everything is written and the client has it (shut down the sending side, then read until the \
                 client closes) before exiting. A drain deadline that is too short does the same.",
            ),
            Loss::UploadCut => (
                "upload-cut",
                "the connection was closed while the client was sending its request",
                "The drain counts a request from its end instead of from its first byte. Count a connection as busy \
                 from its first byte, and read bodies to their end.",
            ),
            Loss::Unanswered => (
                "unanswered",
                "a request was sent, and no answer came in time",
                "A process holds the connection and does not serve it: a new one that accepts before it can serve, or \
                 an old one that has stopped its workers. If nobody has accepted it, a process holds the listening \
                 socket without accepting.",
            ),
            Loss::NotReady => (
                "not-ready",
                "the new process answered with an error",
                "It accepts before it is ready. Let the old process accept until the new one has initialised, and \
                 says so.",
            ),
            Loss::TurnedAway => (
                "turned-away",
                "a process that drains answered with an error",
                "The old process refuses what comes on connections that it still holds, or still accepts. A request \
                 that has arrived must be served; say `Connection: close` in its answer instead.",
            ),
            Loss::OtherAnswer => (
                "other-answer",
                "the status was another one than without a restart",
                "The new process serves something else: its configuration or its files are not there yet, or it is \
                 another version on purpose.",
            ),
            Loss::Garbled => (
                "garbled",
                "what came is no answer of the protocol",
                "Two processes write to one connection, or one goes on in the middle of what another began.",
            ),
            Loss::Late => (
                "late",
                "an answer took longer than --max-latency allows",
                "Nobody accepts while the new process starts, or it serves its first requests cold. Let the old \
                 process accept until the new one is ready and warm.",
            ),
            Loss::SessionCut => (
                "session-cut",
                "a WebSocket or a stream of events was cut without a word",
                "The old process ends while its sessions are open. Tell each one to come again (a Close frame with 1012, \
                 the end of the stream), and wait until it is out; or move it to the new process.",
            ),
            Loss::NoSuccessor => (
                "no-successor",
                "the restart was asked for, and no new process came",
                "The restart failed, or the signal means something else to this server. Its log says more. A server \
                 that executes its new program in place (the same process id) looks like this too.",
            ),
            Loss::TwoGenerations => (
                "two-generations",
                "the old process still accepts connections after the new one does",
                "Nobody has told the old process to stop, so two versions serve at random. With USR2 of nginx or \
                 unicorn, the old master must be sent QUIT once the new one serves.",
            ),
            Loss::NeverEnds => (
                "never-ends",
                "the old process has stopped accepting, and did not end in time",
                "Something holds it: an idle connection without a deadline, a thread, a child. Give the drain a \
                 deadline, after which what is left is cut; each restart leaves one more process otherwise.",
            ),
            Loss::Gone => (
                "gone",
                "nobody listens any more",
                "The old process ended, and the new one did not come up. Let the old one serve until the new one \
                 says that it is ready.",
            ),
        }
    }

    /// Whether it is the service's, and no single client's.
    pub(super) fn is_of_the_service(self) -> bool {
        matches!(self, Loss::NoSuccessor | Loss::TwoGenerations | Loss::NeverEnds | Loss::Gone)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_has_a_name_and_a_row_in_the_guide() {
        let all = Loss::value_variants();
        let guide = include_str!("../../../docs/prove.rs");
        let section = guide.split("# What can be lost").nth(1).unwrap();
        let rows = section.split("//! #").next().unwrap().matches("//! | `").count();
        assert_eq!(rows, all.len());
        for loss in all {
            assert!(section.contains(&format!("//! | `{}` |", loss.name())), "{}", loss.name());
        }
    }
}
