//! Generates the messages of `proto/` without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let enabled = |feature: &str| std::env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    if enabled("WIRE") {
        let descriptors = protox::compile(["ratify/v1/ratify.proto"], ["proto"])?;
        tonic_prost_build::configure()
            .build_client(enabled("SHIM") || enabled("CLI"))
            .build_server(enabled("DAEMON"))
            .compile_fds(descriptors)?;
    }
    Ok(())
}
