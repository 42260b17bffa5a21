//! One direction of a connection: the secret that its keys come from, and how many records these have sealed.

use tokio_rustls::rustls::Tls13CipherSuite;
use tokio_rustls::rustls::crypto::cipher::{AeadKey, Iv, MessageDecrypter, MessageEncrypter};
use tokio_rustls::rustls::crypto::tls13::OkmBlock;
use zeroize::{Zeroize, Zeroizing};

/// Has no `Debug`: it would show the secret.
pub(in crate::tls) struct Direction {
    pub(in crate::tls) suite: &'static Tls13CipherSuite,
    pub(in crate::tls) secret: Zeroizing<Vec<u8>>,
    pub(in crate::tls) sequence: u64,
}

impl Direction {
    pub(super) fn encrypter(&self) -> Box<dyn MessageEncrypter> {
        let (key, iv) = self.keys();
        self.suite.aead_alg.encrypter(AeadKey::from(*key), Iv::new(iv))
    }

    pub(super) fn decrypter(&self) -> Box<dyn MessageDecrypter> {
        let (key, iv) = self.keys();
        self.suite.aead_alg.decrypter(AeadKey::from(*key), Iv::new(iv))
    }

    /// On to the next keys: RFC 8446, section 7.2.
    pub(super) fn update(&mut self) {
        let mut next = Zeroizing::new(vec![0; self.secret.len()]);
        self.expand(b"traffic upd", &mut next);
        self.secret = next;
        self.sequence = 0;
    }

    /// On to the secret that `key` comes from: there may have been updates since the handshake, which
    /// gave the first one. `false` if there have been too many to find out.
    pub(in crate::tls) fn catch_up(&mut self, key: &[u8]) -> bool {
        let sequence = self.sequence;
        for _ in 0..MOST_UPDATES {
            if self.keys().0[..] == *key {
                self.sequence = sequence;
                return true;
            }
            self.update();
        }
        false
    }

    fn keys(&self) -> (Zeroizing<[u8; KEY]>, [u8; IV]) {
        let (mut key, mut iv) = (Zeroizing::new([0; KEY]), [0; IV]);
        self.expand(b"key", &mut key[..]);
        self.expand(b"iv", &mut iv);
        (key, iv)
    }

    /// HKDF-Expand-Label with an empty context: RFC 8446, section 7.1.
    fn expand(&self, label: &[u8], into: &mut [u8]) {
        // Two bytes and one: no output here is longer than 48, no label longer than 11.
        let length = (into.len() as u16).to_be_bytes();
        let label_length = [(PREFIX.len() + label.len()) as u8];
        let expander = self.suite.hkdf_provider.expander_for_okm(&OkmBlock::new(&self.secret));
        let expanded = expander.expand_slice(&[&length, &label_length, PREFIX, label, &[0]], into);
        if expanded.is_err() {
            // Only for more than 255 hashes.
            into.zeroize();
        }
    }
}

const PREFIX: &[u8] = b"tls13 ";

/// Of AES-256 and of ChaCha20: rustls 0.23 makes keys of no other length for others than itself.
const KEY: usize = 32;
const IV: usize = 12;

/// Some microseconds each. Who moves 64 GiB between two of them, as rustls does, has sent 640 TiB by then.
const MOST_UPDATES: u32 = 10_000;
