//! What flows need of the process that they are in.

use std::fmt;
use std::os::fd::OwnedFd;

use super::status::GenerationFlows;
use crate::drain::Hold;
use crate::handdown::descriptors::HandDownError;
use crate::sys::address::Address;

pub(crate) trait Home: fmt::Debug + Send + Sync {
    /// The generations after this one are to have it.
    fn hand_down(&self, name: String, fd: OwnedFd) -> Result<(), HandDownError>;
    /// They are not.
    fn withhold(&self, name: &str);
    /// Keeps the drain from its end.
    fn hold(&self) -> Hold;
    /// An older generation has no flows any more.
    fn gone(&self, address: Address, generation: &GenerationFlows);
}
