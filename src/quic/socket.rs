//! The socket as quinn knows it.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::udp::{Flows, Meta};

#[derive(Debug)]
pub(super) struct Socket {
    flows: Flows,
    pause: Mutex<Pause>,
}

#[derive(Debug, Default)]
struct Pause {
    is_paused: bool,
    waiting: Option<Waker>,
}

impl Socket {
    pub(super) fn new(flows: Flows) -> Socket {
        Socket { flows, pause: Mutex::default() }
    }

    /// Whether what comes is left where it is.
    pub(super) fn pause(&self, is_paused: bool) {
        let mut pause = self.lock();
        pause.is_paused = is_paused;
        if let Some(waiting) = pause.waiting.take_if(|_| !is_paused) {
            waiting.wake();
        }
    }

    /// Tells the generation that reads how many connections there are here.
    pub(super) fn tell_count(&self, connections: usize) {
        self.flows.tell_count(connections);
    }

    fn poll_pause(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pause = self.lock();
        if pause.is_paused {
            pause.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn lock(&self) -> MutexGuard<'_, Pause> {
        // Nothing under it can panic.
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.flows.try_send_for_quinn(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(cx));
        let most = buffers.len().min(received.len()).min(BATCH_SIZE);
        let mut metas = [Meta::empty(); BATCH_SIZE];
        let polled = self.flows.poll_recv(cx, &mut buffers[..most], &mut metas[..most]);
        // Nothing more can come: that is no error, and the endpoint has its timers.
        let Some(count) = ready!(polled)? else { return Poll::Pending };
        for (received, meta) in received.iter_mut().zip(&metas[..count]) {
            *received = RecvMeta::default();
            received.addr = meta.peer;
            received.len = meta.length;
            received.stride = meta.segment;
            received.ecn = EcnCodepoint::from_bits(meta.ecn);
            received.dst_ip = meta.local;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.flows.local_addr())
    }

    fn max_transmit_segments(&self) -> usize {
        self.flows.max_send_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.flows.max_recv_segments()
    }

    fn may_fragment(&self) -> bool {
        self.flows.may_fragment()
    }
}

/// Waits for room in the socket's buffer, for one task.
struct Poller {
    socket: Arc<Socket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(async move { socket.flows.writable().await }));
        let ready = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(ready)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("is_waiting", &self.waiting.is_some()).finish()
    }
}
