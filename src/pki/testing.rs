//! Certificates, CRLs and OCSP responses for tests. Those of signers and authorities are made by the integration tests
//! too, which take the file of `made` as it stands: it sees nothing of the crate but what everybody sees.

mod made;
mod revoked;

pub(crate) use made::*;
pub(crate) use revoked::*;
