//! Signatures of deliveries, as [Standard Webhooks](https://www.standardwebhooks.com) has them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What an encoded secret begins with.
const PREFIX: &str = "whsec_";

/// The key that signs deliveries.
#[derive(Clone)]
pub(crate) struct SigningSecret(hmac::Key);

impl SigningSecret {
    /// Creates the key of a secret: base64 after `whsec_`. Other text is the key itself.
    pub(crate) fn new(secret: &str) -> Self {
        let decoded = secret.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        let key = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// Returns the value of `webhook-signature` for a delivery.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signature_is_that_of_the_reference() {
        let secret = SigningSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // Plain text is the key itself: printf 'a.1.b' | openssl dgst -sha256 -hmac secret -binary | base64
        let plain = SigningSecret::new("secret").sign("a", 1, b"b");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(plain, format!("v1,{}", STANDARD.encode(hmac::sign(&key, b"a.1.b"))));
    }
}
