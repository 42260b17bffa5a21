//! A supervisor whose workers' program is fetched.

use super::SupervisorHandle;
use crate::fetch::Restart;
use crate::restarter::{Outcome, RestartError};

impl Restart for SupervisorHandle {
    async fn restart(&mut self) -> Result<Outcome, RestartError> {
        SupervisorHandle::restart(self).await
    }
}
