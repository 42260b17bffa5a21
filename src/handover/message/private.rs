//! Bytes that nobody is to see but the two processes between which they go.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// No log shows them. With the feature `tls`, which has keys among them, they are wiped from memory when
/// they are dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Private(Bytes);

#[cfg(feature = "tls")]
type Bytes = zeroize::Zeroizing<Vec<u8>>;
#[cfg(not(feature = "tls"))]
type Bytes = Vec<u8>;

impl From<Vec<u8>> for Private {
    fn from(bytes: Vec<u8>) -> Self {
        #[allow(clippy::useless_conversion, reason = "it is none with TLS")]
        Private(bytes.into())
    }
}

impl Deref for Private {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for Private {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self[..].hash(state);
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.len())
    }
}
