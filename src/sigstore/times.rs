//! When a signature was made, as those say who are trusted for it: transparency logs by their signed entries, timestamp
//! authorities by their timestamps (Sigstore, "Client Specification", section 4.2). Called by [`super::verify`]. Never
//! believes a time that nobody signed.

use std::sync::Arc;
use std::time::SystemTime;

use super::bundle::Signature;
use super::log::{BadEntry, Entered, Witness};
use super::trusted_root::{Authority, TrustedRoot};
use super::verify::Unmet;
use crate::pki::rfc3339;
use crate::pki::timestamp::{self, BadTimestamp, Timestamp};
use crate::report::Stage;

/// What logs and timestamp authorities say of a signature.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Each moment, and who says it.
    moments: Vec<(SystemTime, String)>,
    /// The logs that have the signature, and whether each says when.
    logs: Vec<(String, bool)>,
    /// When those who are believed cease to count.
    ends: Vec<SystemTime>,
}

impl Times {
    /// Each moment at which the signature is known to have been there, and who says so.
    pub(super) fn all(&self) -> &[(SystemTime, String)] {
        &self.moments
    }

    /// Whether a log has it.
    pub(super) fn is_logged(&self) -> bool {
        !self.logs.is_empty()
    }

    /// When those who are believed cease to count.
    pub(super) fn ends(&self) -> Vec<SystemTime> {
        self.ends.clone()
    }

    /// For people, behind who signed.
    pub(super) fn told(&self) -> String {
        let untimed = self.logs.iter().filter(|(_, is_timed)| !is_timed);
        let logs = untimed.map(|(log, _)| format!(", in log {log}"));
        let moments = self.moments.iter().map(|(at, what)| format!(", by {what} of {}", rfc3339(*at)));
        logs.chain(moments).collect()
    }
}

/// Asks everybody. Where a log is asked for, every entry must hold; where none is, those that do tell the time.
pub(super) fn observe(
    signature: &Signature,
    entered: &Entered<'_>,
    roots: &[Arc<TrustedRoot>],
    log: bool,
    now: SystemTime,
) -> Result<Times, Unmet> {
    let mut times = Times::default();
    let mut witnesses = Vec::new();
    for entry in &signature.entries {
        match entry.check(roots, entered) {
            Ok(witness) => witnesses.push(witness),
            Err(cause) if log => return Err(bad_entry(&cause)),
            Err(_) => {}
        }
    }
    for Witness { log, time, valid_for } in &witnesses {
        times.moments.extend(time.map(|at| (at, format!("the entry in log {log}"))));
        times.logs.push((log.clone(), time.is_some()));
        times.ends.extend(valid_for.end);
    }
    stamps(signature, roots, &mut times)?;
    if log {
        witnesses.iter().try_for_each(|witness| check_counted(witness, &times, now))?;
    }
    Ok(times)
}

/// A log that says no time itself must have counted at the times that others tell; where nobody tells any, it must count
/// now, because a key that has ended may be in anybody's hands.
fn check_counted(Witness { log, valid_for, .. }: &Witness, times: &Times, now: SystemTime) -> Result<(), Unmet> {
    let outside = times.moments.iter().find(|(at, _)| !valid_for.covers(*at));
    let cause = match outside {
        Some((at, what)) => format!("{what} is of {}, and log {log} counts {valid_for}", rfc3339(*at)),
        None if times.moments.is_empty() && !valid_for.covers(now) => {
            format!("log {log} counts {valid_for}, it is {}, and {NO_TIME}", rfc3339(now))
        }
        None => return Ok(()),
    };
    Err(Unmet::new(Stage::Expiry, cause))
}

/// What is said where nobody tells the time.
pub(super) const NO_TIME: &str =
    "no transparency log and no timestamp authority that is trusted says when the signature was made";

fn bad_entry(cause: &BadEntry) -> Unmet {
    let stage = match cause {
        BadEntry::Malformed(_) => Stage::Form,
        BadEntry::UnknownLog { .. } | BadEntry::Promise { .. } | BadEntry::Checkpoint(_) => Stage::Authenticity,
        BadEntry::NotValid { .. } => Stage::Expiry,
        _ => Stage::Integrity,
    };
    Unmet::new(stage, format_args!("an entry of a transparency log does not count: {cause}"))
}

/// Every timestamp by an authority that is known must hold, and where authorities are known and timestamps are there, one
/// must be theirs: "If verification or timestamp parsing fails, the Verifier MUST abort".
fn stamps(signature: &Signature, roots: &[Arc<TrustedRoot>], times: &mut Times) -> Result<(), Unmet> {
    let authorities: Vec<&Authority> = roots.iter().flat_map(|root| root.timestamp_authorities()).collect();
    if authorities.is_empty() || signature.timestamps.is_empty() {
        return Ok(());
    }
    let mut stranger = None;
    let mut is_stamped = false;
    for response in &signature.timestamps {
        match stamp(response, signature.content.signature(), &authorities).map_err(bad)? {
            Ok((timestamp, authority)) => {
                is_stamped = true;
                times.moments.push((timestamp.at, format!("the timestamp by {}", authority.name())));
                times.ends.extend(authority.valid_for().end);
            }
            Err(cause) => stranger = Some(cause),
        }
    }
    match stranger {
        Some(cause) if !is_stamped => Err(bad(Bad::Timestamp(cause))),
        _ => Ok(()),
    }
}

/// Why a timestamp does not count.
enum Bad {
    Timestamp(BadTimestamp),
    Outside(String),
}

fn bad(cause: Bad) -> Unmet {
    let cause = match cause {
        Bad::Timestamp(cause) => cause.to_string(),
        Bad::Outside(cause) => cause,
    };
    Unmet::new(Stage::Expiry, format_args!("a timestamp with the signature does not count: {cause}"))
}

/// Judges one TimeStampResp. The inner error is the one of somebody who is not known, which alone proves nothing.
fn stamp<'a>(
    response: &[u8],
    stamped: &[u8],
    authorities: &[&'a Authority],
) -> Result<Result<(Timestamp, &'a Authority), BadTimestamp>, Bad> {
    let token = timestamp::token(response).map_err(Bad::Timestamp)?;
    let (mut known, mut unknown) = (None, None);
    for authority in authorities {
        let chain = authority.chain();
        let Some((anchor, below)) = chain.split_last() else { continue };
        let signer = chain.first().filter(|first| !first.is_ca());
        let who = timestamp::Authority {
            signer,
            intermediates: below.get(usize::from(signer.is_some())..).unwrap_or_default(),
            anchors: std::slice::from_ref(anchor),
        };
        match timestamp::verify_by(token, stamped, &who) {
            Ok(timestamp) if authority.valid_for().covers(timestamp.at) => return Ok(Ok((timestamp, authority))),
            Ok(timestamp) => {
                let (at, valid_for) = (rfc3339(timestamp.at), authority.valid_for());
                known =
                    Some(Bad::Outside(format!("it is of {at}, and authority {} counts {valid_for}", authority.name())));
            }
            Err(cause) if is_strange(&cause) => unknown = Some(cause),
            Err(cause) => known = Some(Bad::Timestamp(cause)),
        }
    }
    match (known, unknown) {
        (Some(known), _) => Err(known),
        (None, Some(unknown)) => Ok(Err(unknown)),
        (None, None) => Ok(Err(BadTimestamp::NoSigner)),
    }
}

/// Whether a timestamp is by somebody who is not known, and may be a good one to others.
fn is_strange(cause: &BadTimestamp) -> bool {
    matches!(cause, BadTimestamp::NoSigner | BadTimestamp::OtherSigner(_) | BadTimestamp::Untrusted { .. })
}
