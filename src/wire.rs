//! The messages of `proto/ratify/v1`, and how they become words and back. Nothing above this module but the
//! service and the client sees them.

use std::time::Duration;

use crate::artifact::{BadDigest, Descriptor};
use crate::limits;
use crate::verdict::Token;

/// The generated messages, clients and servers.
#[expect(missing_docs, reason = "generated; documented in proto/ratify/v1/ratify.proto")]
#[allow(
    clippy::pedantic,
    clippy::as_conversions,
    reason = "generated, and what of it there is depends on the features"
)]
pub mod v1 {
    tonic::include_proto!("ratify.v1");
}

impl From<Token> for v1::Token {
    fn from(token: Token) -> Self {
        match token {
            Token::Allowed => Self::Allowed,
            Token::Audit => Self::Audit,
            Token::Exempt => Self::Exempt,
            Token::Denied => Self::Denied,
            Token::Misconfigured => Self::Misconfigured,
            Token::Unavailable => Self::Unavailable,
        }
    }
}

/// The token of a verdict that came over the wire; none for one that this program does not know, which is no
/// answer and so never an allow.
#[must_use]
pub fn token(verdict: &v1::Verdict) -> Option<Token> {
    match verdict.token() {
        v1::Token::Unspecified => None,
        v1::Token::Allowed => Some(Token::Allowed),
        v1::Token::Audit => Some(Token::Audit),
        v1::Token::Exempt => Some(Token::Exempt),
        v1::Token::Denied => Some(Token::Denied),
        v1::Token::Misconfigured => Some(Token::Misconfigured),
        v1::Token::Unavailable => Some(Token::Unavailable),
    }
}

/// What a request to verify asks: the image's name, not yet read, and what would be pulled.
///
/// # Errors
/// There is no descriptor, or it is none, in words.
pub fn question(request: v1::VerifyRequest) -> Result<(String, Descriptor), String> {
    let descriptor = request.descriptor.ok_or("the request has no descriptor")?;
    let descriptor = Descriptor::try_from(descriptor).map_err(|error| error.to_string())?;
    if descriptor.media_type.len() > limits::MEDIA_TYPE_BYTES {
        return Err("the descriptor's media type is longer than any can be".to_owned());
    }
    Ok((request.name, descriptor))
}

/// A `grpc-timeout` header: up to eight digits and a unit (gRPC over HTTP/2, "Requests").
#[must_use]
pub fn grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

impl From<Descriptor> for v1::Descriptor {
    fn from(descriptor: Descriptor) -> Self {
        Self { media_type: descriptor.media_type, digest: descriptor.digest.to_string(), size: descriptor.size }
    }
}

impl TryFrom<v1::Descriptor> for Descriptor {
    type Error = BadDigest;

    fn try_from(descriptor: v1::Descriptor) -> Result<Self, BadDigest> {
        Ok(Self { media_type: descriptor.media_type, digest: descriptor.digest.parse()?, size: descriptor.size })
    }
}
