//! Images that were copied out of a registry, with what refers to them, into an OCI layout on disk.

use std::fs;
use std::process::Command;

use crate::common::node::{Daemon, executor};
use crate::common::notation::signers;
use crate::common::registries::registries;
use crate::common::tools::{run, tool};
use crate::needs;

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
