//! End to end, as an operator sees it: the real containerd pulls from real registries, runs the real shim, which asks
//! the real daemon. Images are signed by the real notation and the real cosign. Needs root and the tools of `tests/tools/fetch`; without
//! them each test says that it is skipped, and fails with `CI=true`.

#[path = "../common/mod.rs"]
pub mod common;
#[path = "../keyless/mod.rs"]
pub mod drafts;
#[path = "../../src/pki/testing/made.rs"]
pub mod made;
mod proxy;
#[path = "../../src/tuf/testing.rs"]
pub mod repositories;
#[path = "../../src/sigstore/testing.rs"]
pub mod signatures_made;

/// Where the generator looks for its crate.
pub mod pki {
    pub use crate::made as testing;
    pub use ratify::pki::*;
}
/// The same.
pub mod sigstore {
    pub use crate::signatures_made as testing;
    pub use ratify::sigstore::*;
}

mod changes;
mod cosign;
mod credentials;
mod doctor;
mod example;
mod failures;
mod fetched;
mod hosts;
mod install;
mod keyless;
mod layouts;
mod load;
mod mirrors;
mod names;
mod plugins;
mod policies;
mod revocation;
mod rules;
mod signatures;
mod tokens;
mod tuf;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use common::node::{Node, executor};
use common::notation::signers;
use common::registries::registries;

/// Why an image without any signature is refused, where [`common::node::executor`] says who must sign.
const UNSIGNED: &str = "no signature for verifier \"release\": nothing refers to this image";

/// A node that trusts the shared signers for all shared registries. Its configuration never changes, so tests that
/// only pull share it. It ends with the last test that holds it.
fn steady_node() -> Arc<Node> {
    static SHARED: Mutex<Weak<Node>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(node) = shared.upgrade() {
        return node;
    }
    let registries = registries();
    let hosts = [&registries.referrers, &registries.distribution, &registries.crane];
    let scopes = hosts.map(|registry| format!("\"{}\"", registry.host)).join(", ");
    let node = Arc::new(Node::start(&executor(&scopes, "", &signers().authority.certificate())));
    *shared = Arc::downgrade(&node);
    node
}
