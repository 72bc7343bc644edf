//! Secrets: 256 random bits each, kept and compared as digests.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// The system has no random bits to give.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bits, of which a token is made")]
pub struct NoRandomness;

/// What is kept of a secret. How long a comparison takes tells of the digest, not of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    pub fn of_bytes(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text).as_ref());
        Self(bytes)
    }

    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// A new secret, as 64 hexadecimal digits.
pub fn secret() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    let drawn = SystemRandom::new().fill(&mut bytes);
    drawn.map_err(|_| NoRandomness)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        // printf gm_key | sha256sum
        let printed = "186bf37081dd1d303ade48f74fcc3b157ef35d468110de2b43cfca8a4b50e9cb";
        assert_eq!(Digest::of("gm_key").hex(), printed);
    }

    #[test]
    fn a_secret_has_256_bits_and_is_another_each_time() {
        let [one, other] = [secret().unwrap(), secret().unwrap()];
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
    }
}
