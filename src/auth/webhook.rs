//! What a webhook is signed with: the scheme of Standard Webhooks (standardwebhooks.com, version 1), so that receivers have a library for it.
//!
//! The signature is HMAC-SHA256 over the id, the time and the body, with a full stop between them. Whoever has the secret can tell that a request
//! is ours, and that it is not an old one that somebody sends again.

use aws_lc_rs::hmac::{self, Key};

use super::base64url;

/// How a secret begins.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: fewer could be guessed, more add nothing.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// So many secrets at a time: the present one, and those that receivers may still check with.
const SECRETS_MAX: usize = 4;

/// The secrets that requests are signed with: one, or while it is replaced, several.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<Key>);

impl WebhookSecrets {
    /// Reads the text of a file: one secret in each line. What is wrong does not repeat the text.
    pub fn parse(text: &str) -> Result<WebhookSecrets, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if !(1..=SECRETS_MAX).contains(&lines.len()) {
            return Err(format!(
                "it has {} secrets: write 1 to {SECRETS_MAX}, each in a line (echo whsec_$(openssl rand -base64 32))",
                lines.len()
            ));
        }
        let key = |(at, line): (usize, &&str)| {
            let bytes = line.strip_prefix(PREFIX).and_then(from_base64).filter(|bytes| BYTES.contains(&bytes.len()));
            let key = bytes.map(|bytes| Key::new(hmac::HMAC_SHA256, &bytes));
            key.ok_or_else(|| {
                format!(
                    "line {} is no secret: write {PREFIX} and base64 of {} to {} bytes (echo whsec_$(openssl rand -base64 32))",
                    at + 1,
                    BYTES.start(),
                    BYTES.end()
                )
            })
        };
        lines.iter().enumerate().map(key).collect::<Result<_, _>>().map(WebhookSecrets)
    }

    /// The signatures, with a space between them: one for each secret.
    pub fn sign(&self, id: &str, time_s: u64, body: &str) -> String {
        let signed = format!("{id}.{time_s}.{body}");
        let signature = |key| format!("v1,{}", to_base64(hmac::sign(key, signed.as_bytes()).as_ref()));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

/// The bytes of padded base64 (RFC 4648 section 4).
fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) || text.bytes().any(|byte| b"-_".contains(&byte)) {
        return None;
    }
    let bare = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    base64url::decode(&bare.replace('+', "-").replace('/', "_"))
}

fn to_base64(bytes: &[u8]) -> String {
    let mut text = base64url::encode(bytes).replace('-', "+").replace('_', "/");
    text.extend(std::iter::repeat_n('=', text.len().next_multiple_of(4) - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries (standard-webhooks, `test_sign_function`): secret, id, time, body, signature.
    #[test]
    fn the_example_of_the_specification() {
        let secrets = WebhookSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// While a secret is replaced, receivers check with either.
    #[test]
    fn each_secret_signs() {
        let (one, other) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let sign = |text: &str| WebhookSecrets::parse(text).unwrap().sign("a", 1, "{}");
        assert_eq!(sign(&format!("{one}\n\n {other} \n")), format!("{} {}", sign(one), sign(other)));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let short = format!("whsec_{}", to_base64(&[7; 23]));
        let long = format!("whsec_{}", to_base64(&[7; 65]));
        let many = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".repeat(5);
        for text in [
            "",
            "\n",
            "hush",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_hush",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-w",
            &short,
            &long,
            &many,
        ] {
            let problem = WebhookSecrets::parse(text).err().unwrap();
            assert!(problem.contains("whsec_") && !problem.contains("hush") && !problem.contains("MfKQ"), "{problem}");
        }
    }

    #[test]
    fn base64_is_read_back() {
        for len in 0..70 {
            let bytes: Vec<u8> = (0..len).map(|n: u8| n.wrapping_mul(37).wrapping_add(200)).collect();
            assert_eq!(from_base64(&to_base64(&bytes)).unwrap(), bytes);
        }
        assert_eq!(to_base64(b"foob"), "Zm9vYg==");
        assert_eq!(from_base64("Zm9vYg"), None);
    }
}
