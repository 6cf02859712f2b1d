//! Images that were copied out of a registry, with what refers to them, into an OCI layout on disk.

use std::fs;
use std::process::Command;

use crate::common::node::{Daemon, Node, executor};
use crate::common::notation::signers;
use crate::common::registries::registries;
use crate::common::tools::{run, tool};
use crate::{UNSIGNED, needs};

#[test]
fn a_signed_image_is_verified_from_a_folder_and_from_an_archive() {
    needs!();
    let (registry, signers) = (&registries().referrers, signers());
    let [signed, unsigned] = ["layouts/signed", "layouts/unsigned"].map(|place| registry.image(place));
    signers.trusted.sign(&signed.by_digest());
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::down(&executor("\"images.example/*\"", "", &signers.authority.certificate()));
    for (image, code, token) in [(signed, 0, "ALLOWED"), (unsigned, 1, "DENIED")] {
        let layout = folder.path().join(token);
        let target = format!("{}:v1", layout.display());
        run(Command::new(tool("oras")).args([
            "cp",
            "-r",
            "--from-plain-http",
            "--to-oci-layout",
            &image.by_digest(),
            &target,
        ]))
        .success();
        let archive = folder.path().join(format!("{token}.tar"));
        run(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".")).success();
        for place in [layout, archive] {
            assert!(fs::metadata(&place).is_ok());
            let ran = run(Command::new(env!("CARGO_BIN_EXE_ratifyctl"))
                .args(["verify", "--as", "images.example/web", "--config"])
                .arg(daemon.config())
                .arg(format!("oci-layout:{}:v1", place.display())));
            assert_eq!((ran.code, ran.stdout.split(' ').next()), (Some(code), Some(token)), "{ran:?}");
        }
    }
}

#[test]
fn evidence_comes_from_a_layout_where_the_registry_has_none() {
    needs!();
    let (registry, signers) = (&registries().referrers, signers());
    let [signed, unsigned] = ["airgap/signed", "airgap/unsigned"].map(|place| registry.image(place));
    // Signed elsewhere, and carried over: the registry that is pulled from has no signature.
    let elsewhere = signed.copied_to("airgap-elsewhere/signed");
    signers.trusted.sign(&elsewhere.by_digest());
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("evidence");
    let executor = executor(&format!("\"{}/airgap/*\"", registry.host), "", &signers.authority.certificate());
    let stores = format!(
        "[[executors.stores]]\ntype = \"filesystem-oci-store\"\nparameters.path = {layout:?}\n[[executors]]\nscopes = [\"{}/elsewhere/*\"]\nmode = \"allow\"\n[remember]\ndeny = \"0s\"\n",
        registry.host
    );
    let node = Node::start(&format!("{executor}{stores}"));
    node.refuses(&signed, "UNAVAILABLE", "layout ");
    let other = registry.image("elsewhere");
    node.allows(&other, "EXEMPT");
    let target = format!("{}:v1", layout.display());
    let copy = ["cp", "-r", "--from-plain-http", "--to-oci-layout", &elsewhere.by_digest(), &target];
    run(Command::new(tool("oras")).args(copy)).success();
    node.refuses(&unsigned, "DENIED", UNSIGNED);
    node.allows(&signed, "ALLOWED");
}
