//! What every parser of outside bytes holds to, whatever the bytes: for each a function that says whether it took
//! them, and panics where a promise is broken. `fuzz_targets/` hands them to a fuzzer, `tests/fuzz.rs` of the main
//! package gives them the seeds. They ask no network and no clock, and touch no file but one in memory.
//!
//! An input of several parts has them separated by a line of its own, `%%`.

#![forbid(unsafe_code)]

use ratify::verdict::printable;

mod configuration;
mod cose;
mod cosign;
mod credentials;
mod logs;
mod made;
mod revocation;
mod plugins;
mod signatures;
mod sigstore;
mod socket;
mod store;
mod timestamps;
mod words;

pub use configuration::{config_json, config_toml, config_yaml, expansion, trust_policy};
pub use cose::{cose, cose_signed};
pub use cosign::simple_signing;
pub use credentials::{docker_config, helper_answer, image_glob, kubelet_config, kubelet_response};
pub use logs::{checkpoint, log_entry, sct, trusted_root};
pub use plugins::{plugin_answer, plugin_index, plugin_metadata, plugin_result, plugin_store, runner};
pub use revocation::{crl, ocsp};
pub use signatures::{certificate, chain, envelope, identity, name, pem, public_key, signed, time};
pub use sigstore::{bundle, dsse};
pub use socket::{arguments, descriptor, duration, wire};
pub use store::{archive, challenge, hosts, layout, layout_reference, link, redirect, referrers};
pub use timestamps::{stamp, timestamp};
pub use words::{digest, json, manifest, reason, reference, report, scope};

/// Gives a parser some bytes; whether it took them.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of their file in `fuzz_targets/` and of their folder of seeds.
pub const TARGETS: [(&str, Target); 57] = [
    ("archive", archive),
    ("arguments", arguments),
    ("bundle", bundle),
    ("certificate", certificate),
    ("chain", chain),
    ("challenge", challenge),
    ("checkpoint", checkpoint),
    ("config_json", config_json),
    ("config_toml", config_toml),
    ("config_yaml", config_yaml),
    ("cose", cose),
    ("cose_signed", cose_signed),
    ("crl", crl),
    ("descriptor", descriptor),
    ("digest", digest),
    ("docker_config", docker_config),
    ("dsse", dsse),
    ("duration", duration),
    ("envelope", envelope),
    ("expansion", expansion),
    ("helper_answer", helper_answer),
    ("hosts", hosts),
    ("identity", identity),
    ("image_glob", image_glob),
    ("json", json),
    ("kubelet_config", kubelet_config),
    ("kubelet_response", kubelet_response),
    ("layout", layout),
    ("layout_reference", layout_reference),
    ("link", link),
    ("log_entry", log_entry),
    ("manifest", manifest),
    ("name", name),
    ("ocsp", ocsp),
    ("pem", pem),
    ("plugin_answer", plugin_answer),
    ("plugin_index", plugin_index),
    ("plugin_metadata", plugin_metadata),
    ("plugin_result", plugin_result),
    ("plugin_store", plugin_store),
    ("public_key", public_key),
    ("reason", reason),
    ("redirect", redirect),
    ("reference", reference),
    ("referrers", referrers),
    ("report", report),
    ("runner", runner),
    ("scope", scope),
    ("sct", sct),
    ("signed", signed),
    ("simple_signing", simple_signing),
    ("stamp", stamp),
    ("time", time),
    ("timestamp", timestamp),
    ("trust_policy", trust_policy),
    ("trusted_root", trusted_root),
    ("wire", wire),
];

/// The parts of an input.
fn parts(data: &[u8]) -> Vec<&[u8]> {
    const SEPARATOR: &[u8] = b"\n%%\n";
    let (mut parts, mut rest) = (Vec::new(), data);
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

/// A part as text; the empty text where there is no such part, or it is none.
fn text_of<'a>(parts: &[&'a [u8]], index: usize) -> &'a str {
    parts.get(index).and_then(|part| str::from_utf8(part).ok()).unwrap_or_default()
}

/// What may be in a header field that is read as text (RFC 9110, section 5.5, without obs-text).
fn is_header(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}

/// Text for a person's terminal is one line without control characters, whatever is quoted in it.
#[track_caller]
fn assert_one_line(text: &str) {
    assert!(printable(text) == text, "not one printable line: {text:?}");
}
