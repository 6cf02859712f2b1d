//! Certificates that openssl's authority takes back: its CRL, and `openssl ocsp` as its responder.

use std::fs;

use super::common::node::{Node, executor};
use super::common::registries::registries;
use super::common::revocation::{Files, Issuer};
use super::needs;

#[test]
fn an_image_signed_by_a_revoked_certificate_is_refused_and_one_that_cannot_be_asked_about_is_unavailable() {
    needs!();
    let (issuer, files) = (Issuer::create(), Files::serve());
    let ocsp = format!("authorityInfoAccess=OCSP;URI:{}", issuer.responder_url());
    let crl = format!("crlDistributionPoints=URI:{}", files.url("ca.crl"));
    let both = format!("authorityInfoAccess=OCSP;URI:{}\n{crl}", files.url("nobody"));
    let missing = format!("crlDistributionPoints=URI:{}", files.url("missing.crl"));
    let signers = [("ocsp", &ocsp), ("crl", &crl), ("both", &both)];
    let good = signers.map(|(name, extensions)| (name, issuer.signer(extensions)));
    let bad = signers.map(|(name, extensions)| (name, issuer.signer(extensions)));
    let unknown = issuer.signer(&missing);
    bad.iter().for_each(|(_, signer)| issuer.revoke(signer, "keyCompromise"));
    files.put("ca.crl", issuer.list());
    let _responder = issuer.responder();

    let scope = format!("\"{}\"", registries().referrers.host);
    let node = Node::start(&executor(&scope, "", &issuer.certificate()));
    for (name, signer) in &good {
        let image = registries().referrers.image(&format!("revocation/good-{name}"));
        signer.signer.sign(&image.by_digest());
        node.allows(&image, "ALLOWED");
    }
    for (name, signer) in &bad {
        let image = registries().referrers.image(&format!("revocation/bad-{name}"));
        signer.signer.sign(&image.by_digest());
        node.refuses(&image, "DENIED", "was revoked at");
    }
    let image = registries().referrers.image("revocation/unknown");
    unknown.signer.sign(&image.by_digest());
    node.refuses(&image, "UNAVAILABLE", "missing.crl: the answer has status 404");
}

#[test]
fn a_node_that_reaches_nobody_judges_by_the_crls_of_its_folder() {
    needs!();
    let issuer = Issuer::create();
    let folder = tempfile::tempdir().unwrap();
    let nobody = "crlDistributionPoints=URI:http://crl.invalid/ca.crl";
    let (good, bad) = (issuer.signer(nobody), issuer.signer(nobody));
    issuer.revoke(&bad, "superseded");
    let scope = format!("\"{}\"", registries().referrers.host);
    let revocation = format!("[revocation]\nfetch = false\ncrlFolder = {:?}\n", folder.path());
    let node = Node::start(&format!("{}{revocation}", executor(&scope, "", &issuer.certificate())));
    let image = registries().referrers.image("revocation/air-gapped");
    good.signer.sign(&image.by_digest());
    node.refuses(&image, "UNAVAILABLE", "no CRL in a folder says it");
    fs::write(folder.path().join("ca.crl"), issuer.list()).unwrap();
    let image = registries().referrers.image("revocation/air-gapped-good");
    good.signer.sign(&image.by_digest());
    super::common::tools::until("the CRL", || node.pull(&image).allowed());
    let image = registries().referrers.image("revocation/air-gapped-bad");
    bad.signer.sign(&image.by_digest());
    node.refuses(&image, "DENIED", "was revoked at");
}
