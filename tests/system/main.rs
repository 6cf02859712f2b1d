//! The real daemon, shim and ratifyctl over real sockets and files, against a registry inside this process: what an
//! operator sees when things go right, wrong, slowly or not at all. containerd is not needed. Tests that need another
//! user's id need root; without it they say that they are skipped, and fail with `CI=true`.

#[path = "../common/mod.rs"]
pub mod common;
mod gate;
mod node;
mod programs;

mod access;
mod again;
mod audit;
mod ctl;
mod ctl_more;
mod ctl_plugin;
mod decisions;
mod files;
mod flood;
mod full_disk;
mod hostile;
mod install;
mod lifecycle;
mod log;
mod memory;
mod metrics;
mod mutation;
mod plugins;
mod proxy;
mod requests;
mod shim;
