//! Certificates, CRLs and OCSP responses for tests. Those of signers and authorities are made by the integration tests
//! too, which take the file of `made` as it stands: it sees nothing of the crate but what everybody sees.

mod made;
mod revoked;

pub(crate) use made::*;
pub(crate) use revoked::*;

/// That something was refused in words that hold these.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(judged: Result<T, impl std::fmt::Display>, expected: &str) {
    let found = judged.map_err(|why| why.to_string()).expect_err(expected);
    assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
}
