//! Signatures as minisign makes them.

use minisign::KeyPair;

/// Whoever publishes releases.
pub struct Signer(KeyPair);

impl Signer {
    pub fn new() -> Signer {
        Signer(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    /// As in a `.pub` file.
    pub fn public_key(&self) -> String {
        self.0.pk.to_box().unwrap().to_string()
    }

    /// As in a `.minisig` file.
    pub fn sign(&self, bytes: &[u8]) -> String {
        minisign::sign(Some(&self.0.pk), &self.0.sk, bytes, Some("a release"), None).unwrap().to_string()
    }
}
