//! CRLs and OCSP responses: what lets a certificate stand is signed by its issuer, about it, and has not ended.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratify::pki::Certificate;
use ratify::pki::crl::{self, Crl, Judged, Status, Subject};
use ratify::pki::ocsp::{self, Answer};

use super::made::{COMMON_NAME, Draft, OF_LEAF, SEQUENCE, element, name, sealed};
use super::{assert_one_line, parts};

/// 2027-01-15T08:00:00Z.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A leaf with serial number 1, whose list is at `http://c/`, and the root that issued it. The known key is both's.
fn pair() -> &'static [Certificate; 2] {
    static PAIR: OnceLock<[Certificate; 2]> = OnceLock::new();
    PAIR.get_or_init(|| {
        let (root, leaf) = (name(&[(COMMON_NAME, b"root")]), name(&[(COMMON_NAME, b"leaf")]));
        let url = element(0xa0, &[&element(0xa0, &[&element(0x86, &[b"http://c/"])])]);
        let points = element(SEQUENCE, &[&element(SEQUENCE, &[&url])]);
        let points = element(SEQUENCE, &[b"\x06\x03\x55\x1d\x1f", &element(4, &[&points])]);
        let of_leaf = [OF_LEAF, &points].concat();
        [Draft::known(&leaf, &root, &of_leaf), Draft::known(&root, &root, OF_ISSUER)]
            .map(|draft| Certificate::from_der(&draft.sign()).unwrap())
    })
}

/// basicConstraints that say cA, and keyUsage that says keyCertSign and cRLSign.
const OF_ISSUER: &[u8] =
    b"\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x01\x06";

/// A CRL and a delta CRL: the content of each signed part. Their signatures are true, so that the rules behind them are
/// reached.
pub fn crl(data: &[u8]) -> bool {
    let [certificate, issuer] = pair();
    let points = certificate.points().unwrap();
    let subject = Subject { certificate, issuer, points: &points };
    let judge = |base: &[u8], delta: Option<&[u8]>| -> Option<Judged> {
        let judged = Crl::parse(base).and_then(|base| {
            let delta = delta.map(Crl::parse).transpose()?;
            crl::judge(&base, delta.as_ref(), subject, now())
        });
        judged.inspect_err(|error| assert_one_line(&error.to_string())).ok()
    };
    assert_eq!(judge(data, None), None, "nobody signed it");
    let parts = parts(data);
    let base = sealed(parts.first().copied().unwrap_or_default(), &[]);
    let delta = parts.get(1).map(|part| sealed(part, &[]));
    let Some(judged) = judge(&base, delta.as_deref()) else { return false };
    match judged.status {
        Status::Good => assert!(judged.until >= now()),
        Status::Revoked(_) => assert!(data.contains(&1), "its serial number"),
    }
    assert!(judged.fresh_until <= judged.until);
    let mut broken = base.clone();
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    assert_eq!(judge(&broken, delta.as_deref()), None);
    true
}

/// An OCSP response: the content of what is signed. The signature is true.
pub fn ocsp(data: &[u8]) -> bool {
    let [certificate, issuer] = pair();
    let judge = |response: &[u8]| -> Option<Answer> {
        let judged = ocsp::judge(response, certificate, issuer, now());
        judged.inspect_err(|error| assert_one_line(&error.to_string())).ok()
    };
    assert_eq!(judge(data), None, "nobody signed it");
    let basic = sealed(data, &[]);
    let bytes = element(SEQUENCE, &[b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01", &element(4, &[&basic])]);
    let response = element(SEQUENCE, &[b"\x0a\x01\x00", &element(0xa0, &[&bytes])]);
    let Some(answer) = judge(&response) else { return false };
    assert!(answer.until >= now() && answer.delegate.is_none());
    let mut broken = response.clone();
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    assert_eq!(judge(&broken), None);
    true
}
