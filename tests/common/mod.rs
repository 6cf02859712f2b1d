//! What several integration tests share. Declare it as `pub mod common;`: what one of them has no use for is then
//! no dead code.

pub mod containerd;
pub mod cosign;
pub mod http_proxy;
pub mod node;
pub mod notation;
pub mod plugins;
pub mod registries;
pub mod registry;
pub mod revocation;
pub mod site;
pub mod tools;
pub mod tsa;
