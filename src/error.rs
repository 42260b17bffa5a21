//! Errors that `main` returns, as people read them.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

/// Implements `Debug` by the message and what caused it: that is what `main` prints of an error that it
/// returns, alone or in a `Box<dyn Error>`.
macro_rules! debug_as_told {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::error::with_causes(self, f)
            }
        }
    )+};
}

pub(crate) fn with_causes(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.try_for_each(|cause| write!(f, ": {cause}"))
}

/// What kept a program from starting, for [`Restarter::check`](crate::Restarter::check): every
/// [`Error`], and what leads to one (`Box<dyn Error>`, `anyhow::Error`). The compiler finds `How` by itself.
pub trait Cause<How> {
    /// The message, and what caused it.
    fn with_causes(&self) -> String;
}

/// An error itself.
#[derive(Debug)]
pub enum Itself {}

/// A pointer to an error that threads can share.
#[derive(Debug)]
pub enum Shared {}

/// A pointer to an error that stays on its thread.
#[derive(Debug)]
pub enum Local {}

impl<E: Error> Cause<Itself> for E {
    fn with_causes(&self) -> String {
        told(self)
    }
}

impl<E: Deref<Target = dyn Error + Send + Sync>> Cause<Shared> for E {
    fn with_causes(&self) -> String {
        told(&**self)
    }
}

impl<E: Deref<Target = dyn Error>> Cause<Local> for E {
    fn with_causes(&self) -> String {
        told(&**self)
    }
}

/// The message, and what caused it.
pub(crate) fn told(error: &dyn Error) -> String {
    struct Told<'error>(&'error dyn Error);
    impl fmt::Display for Told<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            with_causes(self.0, f)
        }
    }
    Told(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Cause;
    use crate::restarter::StartError;
    use crate::sockets::listen_error::ListenError;

    fn cause<How>(error: &impl Cause<How>) -> String {
        error.with_causes()
    }

    #[test]
    fn every_kind_of_error_has_its_causes_told() {
        let error = || StartError::Thread(io::Error::other("no more of them"));
        let told = cause(&error());
        assert!(told.ends_with("pids.max: no more of them"), "{told}");
        assert_eq!(cause(&Box::<dyn std::error::Error>::from(error())), told);
        assert_eq!(cause(&Box::<dyn std::error::Error + Send + Sync>::from(error())), told);
    }

    #[test]
    fn what_main_prints_is_for_people() {
        let error = StartError::Thread(io::Error::other("no more of them"));
        let told = "cannot start heirloom's thread; look at RLIMIT_NPROC (ulimit -u) and the cgroup's pids.max: no more of them";
        assert_eq!(format!("{error:?}"), told);
        assert_eq!(format!("{:?}", Box::<dyn std::error::Error>::from(error)), told);
        let error = ListenError::NotASocket { path: "/a".into() };
        assert!(format!("{error:#?}").starts_with("\"/a\" exists and is not a socket"));
    }
}
