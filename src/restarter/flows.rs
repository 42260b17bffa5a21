//! Datagram sockets with conversations, as they live in a restarter's process.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use super::Restarter;
use super::shared::{Command, Shared};
use crate::drain::Hold;
use crate::handdown::descriptors::HandDownError;
use crate::operate::event::Event;
use crate::sockets::listen::IntoListen;
use crate::sockets::listen_error::ListenError;
use crate::sys::address::Address;
use crate::sys::socket::Kind;
use crate::udp::home::Home;
use crate::udp::protocol::Protocol;
use crate::udp::{Classifier, Flows, FlowsStatus, GenerationFlows};

impl Restarter {
    /// A UDP socket whose conversations go on in the generation that they began with, inherited or bound like
    /// a listener. `classifier` says whose a datagram is; see [`udp`](crate::udp).
    ///
    /// Make it before [`ready`](Self::ready): a later one cannot reach the generations before.
    ///
    /// # Errors
    ///
    /// As [`listen`](Self::listen). Each takes one of the 64 descriptors that can be handed down, and one
    /// more for each generation that still drains.
    pub fn flows(&self, listen: impl IntoListen, classifier: Classifier) -> Result<Flows, ListenError> {
        self.flows_with(listen, classifier, true, None)
    }

    /// `fragments`: whether the network may part a datagram. `protocol`: what is on top of it.
    pub(crate) fn flows_with(
        &self,
        listen: impl IntoListen,
        classifier: Classifier,
        fragments: bool,
        protocol: Option<Arc<dyn Protocol>>,
    ) -> Result<Flows, ListenError> {
        let listen = listen.into_listen()?;
        let socket = self.shared.listeners.inherit_or_bind(&listen, Kind::Udp)?;
        let inherited = self.shared.descriptors.inherited_under(&crate::udp::names(socket.cookie));
        let listeners = Arc::clone(&self.shared.listeners);
        let home: Arc<dyn Home> = Arc::clone(&self.shared) as _;
        let (own, says) = ((self.generation(), home), (fragments, protocol));
        let flows = Flows::new(socket, listeners, own, inherited, classifier, says)?;
        self.shared.keep();
        let mut all = self.shared.flows.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|flows| flows.strong_count() > 0);
        all.push(flows.status_source());
        drop(all);
        Ok(flows)
    }
}

impl Shared {
    pub(super) fn flows(&self) -> Vec<FlowsStatus> {
        let all = self.flows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.iter().filter_map(|flows| flows.upgrade()).map(|flows| flows.status()).collect()
    }
}

impl Home for Shared {
    fn hand_down(&self, name: String, fd: OwnedFd) -> Result<(), HandDownError> {
        self.descriptors.hand_down(name, fd)
    }

    fn withhold(&self, name: &str) {
        drop(self.descriptors.withhold(name));
        self.keep();
    }

    fn hold(&self) -> Hold {
        self.tracker.hold()
    }

    fn gone(&self, address: Address, generation: &GenerationFlows) {
        let GenerationFlows { generation, forwarded, dropped, .. } = *generation;
        // Told by the driver's thread in its order, as all that happens is.
        self.send(Command::Tell(Event::FlowsGone { address, generation, forwarded, dropped }));
    }
}
