//! What a control socket operates, and a request put to it.

use std::time::Duration;

use super::message::{Reply, Request};
use super::server::{Asked, Follower};
use super::status::ServiceStatus;

/// What a control socket operates. None of it waits: what comes later is told to the follower as it happens.
pub(crate) trait Operated {
    /// What is going on.
    fn status(&mut self) -> ServiceStatus;
    /// Restarts, and tells each step.
    fn restart(&mut self, follower: Follower);
    /// Tells each step of the restart that was passed on to this process, or how it ended.
    fn follow(&mut self, follower: Follower);
    /// Stops the service.
    fn stop(&mut self, within: Option<Duration>, follower: Follower);
    /// Aborts what is left.
    fn hammer(&mut self, follower: Follower);
}

impl Asked {
    /// Has it done.
    pub(crate) fn put_to(self, operated: &mut impl Operated) {
        let Asked { request, follower } = self;
        match request {
            Request::Status => {
                let status = operated.status();
                follower.end_with(&Reply::Status(Box::new(status)));
            }
            Request::Restart => operated.restart(follower),
            Request::Follow => operated.follow(follower),
            Request::Stop { within_ms } => operated.stop(within_ms.map(Duration::from_millis), follower),
            Request::Hammer => operated.hammer(follower),
        }
    }
}
