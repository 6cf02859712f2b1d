//! Generates the messages of `proto/` without a system `protoc`, and notes the day of the build.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=RATIFYD_BUILD_TIME={}", build_time()?);
    let enabled = |feature: &str| std::env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    if enabled("WIRE") {
        let descriptors = protox::compile(["ratify/v1/ratify.proto"], ["proto"])?;
        tonic_prost_build::configure()
            .build_client(enabled("SHIM") || enabled("CLI"))
            .build_server(enabled("DAEMON"))
            .compile_fds(descriptors)?;
    }
    if enabled("CONTAINERD") {
        let descriptors = protox::compile(["cri/v1.proto"], ["proto"])?;
        tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    }
    Ok(())
}

/// The beginning of this day, so that two builds of one day are the same; or what reproducible builds ask for.
fn build_time() -> Result<u64, Box<dyn std::error::Error>> {
    const DAY: u64 = 24 * 60 * 60;
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => Ok(seconds.parse()?),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / DAY * DAY),
    }
}
