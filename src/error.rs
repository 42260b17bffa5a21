//! Errors that `main` returns, as people read them.

use std::error::Error;
use std::fmt;

/// Implements `Debug` by the message and what caused it: that is what `main` prints of an error that it returns, alone or in
/// a `Box<dyn Error>`.
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

#[cfg(test)]
mod tests {
    use std::io;

    use crate::restarter::StartError;
    use crate::sockets::socket::ListenError;

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
