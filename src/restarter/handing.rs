//! What a program hands to its successor beside listeners and connections: descriptors and state of its own.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::Restarter;
use super::shared::Command;
use crate::handdown::descriptors::{HandDownError, NameTooLong, checked};
use crate::handdown::state::{State, StateError, StateWriter};

impl Restarter {
    /// Hands a descriptor of any kind down to each successor that starts from now on: a log file, a lock, a
    /// pipe, a socket that [`listen`](Self::listen) and [`udp`](Self::udp) do not make. It replaces one of
    /// the same name.
    ///
    /// The descriptor is kept open here until this process ends, [withholds](Self::withhold_fd) it or
    /// replaces it; give a duplicate if the program works with it as well. Both processes then share what
    /// belongs to the open file description: its offset, O_NONBLOCK, a flock.
    ///
    /// Only the next generation gets it. That one must hand it down again for the generation after it.
    ///
    /// A successor whose release knows no named descriptors leaves the descriptor open, also for programs
    /// that it starts.
    ///
    /// # Errors
    ///
    /// The name has more than 255 bytes, or 64 other descriptors are handed down. The descriptor is closed
    /// then.
    ///
    /// ```no_run
    /// # fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::fs::File;
    ///
    /// let log = match restarter.inherited_fd("access-log") {
    ///     Some(fd) => File::from(fd),
    ///     None => File::options().create(true).append(true).open("access.log")?,
    /// };
    /// restarter.hand_down("access-log", log.try_clone()?)?;
    /// # Ok(()) }
    /// ```
    pub fn hand_down(&self, name: impl Into<String>, fd: impl Into<OwnedFd>) -> Result<(), HandDownError> {
        self.shared.descriptors.hand_down(name.into(), fd.into())?;
        self.shared.keep();
        Ok(())
    }

    /// Stops handing this descriptor down, and closes it here. Returns whether there was one.
    ///
    /// A successor that is being started at this moment may still get it.
    pub fn withhold_fd(&self, name: &str) -> bool {
        let was_there = self.shared.descriptors.withhold(name).is_some();
        self.shared.keep();
        was_there
    }

    /// Takes the descriptor that the predecessor [handed down](Self::hand_down) under this name,
    /// close-on-exec. `None` if there is none, or if it was taken before.
    ///
    /// Call it before [`ready`](Self::ready), which closes the descriptors that were not taken.
    pub fn inherited_fd(&self, name: &str) -> Option<OwnedFd> {
        self.shared.descriptors.inherited(name)
    }

    /// Provides state: when a successor [asks](Self::state) for this name, `write` is called, and what it has
    /// written is given to it. `tag` is for the program itself: its version of the format. It replaces a
    /// provider of the same name.
    ///
    /// The state is a snapshot. This process serves on while the successor starts, and after a failed restart
    /// too; what changes after the snapshot is for [`provide_final_state`](Self::provide_final_state), or
    /// lost.
    ///
    /// heirloom calls `write` on a thread of its own, one call at a time, and again for every restart. It may
    /// take as long as the [`state_timeout`](super::Builder::state_timeout) and write as much as the
    /// [`state_limit`](super::Builder::state_limit). A lock that it takes is held that long. If it fails,
    /// panics, hangs or writes too much, the successor gets a [`StateError`], and nothing else happens. The
    /// memory counts as this process's until the successor has it, and is free when both have dropped it.
    ///
    /// # Errors
    ///
    /// The name has more than 255 bytes.
    ///
    /// ```no_run
    /// # fn example(restarter: heirloom::Restarter) -> Result<(), heirloom::NameTooLong> {
    /// use std::io::Write;
    /// use std::sync::{Arc, Mutex};
    ///
    /// let hits = Arc::new(Mutex::new(0_u64));
    /// restarter.provide_state("hits", 1, move |out| out.write_all(&hits.lock().unwrap().to_le_bytes()))?;
    /// # Ok(()) }
    /// ```
    pub fn provide_state(
        &self,
        name: impl Into<String>,
        tag: u32,
        write: impl Fn(&mut StateWriter) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<(), NameTooLong> {
        self.shared.providers.set(checked(name.into())?, false, tag, write);
        Ok(())
    }

    /// Provides the state that is left when this process has handed over and its last connection is gone, for
    /// a successor that waits for it with [`final_state`](Self::final_state). Else as
    /// [`provide_state`](Self::provide_state), whose names are apart from these.
    ///
    /// It is called before [`run`](Self::run) returns, also when the drain deadline has aborted the last
    /// connections. If this process was asked to stop meanwhile it has two seconds; asking again ends it at
    /// once.
    ///
    /// # Errors
    ///
    /// The name has more than 255 bytes.
    pub fn provide_final_state(
        &self,
        name: impl Into<String>,
        tag: u32,
        write: impl Fn(&mut StateWriter) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<(), NameTooLong> {
        self.shared.providers.set(checked(name.into())?, true, tag, write);
        Ok(())
    }

    /// Stops providing the state of this name, both [now](Self::provide_state) and [at the
    /// end](Self::provide_final_state). A call that has begun goes on.
    pub fn withhold_state(&self, name: &str) {
        self.shared.providers.remove(name, false);
        self.shared.providers.remove(name, true);
    }

    /// The state that the predecessor [provides](Self::provide_state) under this name, as it is now. `None`
    /// if there is none: this is the first generation, or the predecessor provides nothing of this name, or
    /// its release of heirloom is too old for it. That is no error, because the first restart into a program
    /// that asks for state is in this case.
    ///
    /// Usually called before [`ready`](Self::ready); it works for as long as the predecessor lives.
    ///
    /// # Errors
    ///
    /// The predecessor has state and could not give it; [`StateError`] says why. The program can start
    /// without it, or give up with [`check`](Self::check), so that the predecessor serves on. A predecessor
    /// that does not answer is waited for twice the [`state_timeout`](super::Builder::state_timeout).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: state that arrives after the future was dropped is dropped too, and a later call asks for
    /// a new snapshot. While the provider still works for the dropped call, a later call fails with
    /// [`StateError::Busy`].
    ///
    /// ```no_run
    /// # #[derive(Default)] struct Sessions;
    /// # impl Sessions { fn read(_: &[u8]) -> std::io::Result<Self> { Ok(Sessions) } }
    /// # async fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
    /// let state = restarter.check(restarter.state("sessions").await).await?;
    /// let sessions = match state.as_ref() {
    ///     Some(state) if state.tag() == 1 => Sessions::read(state)?,
    ///     // A version that this program does not know, or none at all.
    ///     _ => Sessions::default(),
    /// };
    /// # Ok(()) }
    /// ```
    pub async fn state(&self, name: &str) -> Result<Option<State>, StateError> {
        self.ask(name, false)?.await.unwrap_or(Err(StateError::DriverGone))
    }

    /// The state that the predecessor [provides at its end](Self::provide_final_state): resolves when its
    /// last connection is gone, so after [`ready`](Self::ready). `None` in the same cases as with
    /// [`state`](Self::state).
    ///
    /// The call itself asks the predecessor, not the first poll. Call it before [`ready`](Self::ready): a
    /// predecessor without connections may be gone right after.
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state). There is no deadline on this side: the predecessor's drain deadline ends
    /// the wait, or its death ([`StateError::PredecessorDied`]).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the predecessor gives this state once, and dropping the future loses it.
    ///
    /// ```no_run
    /// # async fn merge(_: &[u8]) {}
    /// # async fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
    /// let last = restarter.final_state("counters");
    /// tokio::spawn(async move {
    ///     match last.await {
    ///         Ok(Some(counters)) => merge(&counters).await,
    ///         Ok(None) => {}
    ///         Err(error) => eprintln!("the predecessor's last counts are lost: {error}"),
    ///     }
    /// });
    /// restarter.run().await?;
    /// # Ok(()) }
    /// ```
    pub fn final_state(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<State>, StateError>> + Send + 'static + use<> {
        let asked = self.ask(name, true);
        async move { asked?.await.unwrap_or(Err(StateError::DriverGone)) }
    }

    fn ask(
        &self,
        name: &str,
        at_end: bool,
    ) -> Result<oneshot::Receiver<Result<Option<State>, StateError>>, NameTooLong> {
        let name = checked(name.to_owned())?;
        let (answer, heard) = oneshot::channel();
        self.shared.send(Command::State { name, at_end, answer });
        Ok(heard)
    }
}
