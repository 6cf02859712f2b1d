//! Whose signature, over what, in which state.

use super::common::notation::{Authority, Key, TRUSTED, signers, wait_past};
use super::common::registries::registries;
use super::{UNSIGNED, needs, steady_node};

/// All of the Notary Project's signature specification.
const ALGORITHMS: [(&str, Key); 6] = [
    ("rsa-2048", Key::Rsa(2048)),
    ("rsa-3072", Key::Rsa(3072)),
    ("rsa-4096", Key::Rsa(4096)),
    ("p-256", Key::Curve("P-256")),
    ("p-384", Key::Curve("P-384")),
    ("p-521", Key::Curve("P-521")),
];

#[test]
fn an_image_signed_by_a_trusted_identity_is_pulled_whatever_the_algorithm() {
    needs!();
    let node = steady_node();
    for (name, key) in ALGORITHMS {
        let image = registries().referrers.image(&format!("algorithm/{name}"));
        signers().authority.signer(key, TRUSTED).sign(&image.by_digest());
        node.allows(&image, "ALLOWED");
    }
}

#[test]
fn an_image_signed_in_cose_is_pulled_and_one_by_another_key_is_refused() {
    needs!();
    let node = steady_node();
    let cose = &["--signature-format", "cose"];
    for (name, key) in ALGORITHMS {
        let image = registries().referrers.image(&format!("cose/{name}"));
        signers().authority.signer(key, TRUSTED).sign_with(&image.by_digest(), cose);
        node.allows(&image, "ALLOWED");
    }
    for (name, signer, cause) in [
        ("other-authority", &signers().other_authority, "is not trusted"),
        ("other-identity", &signers().other_identity, "is none of the trusted identities"),
    ] {
        let image = registries().referrers.image(&format!("cose/{name}"));
        signer.sign_with(&image.by_digest(), cose);
        node.refuses(&image, "DENIED", cause);
    }
}

#[test]
fn an_unsigned_image_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("unsigned");
    node.refuses(&image, "DENIED", UNSIGNED);
}

#[test]
fn a_signature_under_another_authority_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("other-authority");
    signers().other_authority.sign(&image.by_digest());
    node.refuses(&image, "DENIED", "is not trusted");
}

#[test]
fn a_signature_under_an_authority_of_the_same_name_and_another_key_type_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("other-authority-rsa");
    Authority::create().signer(Key::Rsa(2048), TRUSTED).sign(&image.by_digest());
    node.refuses(&image, "DENIED", "is not trusted");
}

#[test]
fn a_signature_of_another_identity_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("other-identity");
    signers().other_identity.sign(&image.by_digest());
    node.refuses(&image, "DENIED", "is none of the trusted identities");
}

#[test]
fn a_signature_of_another_image_is_refused() {
    needs!();
    let node = steady_node();
    let signed = registries().referrers.image("another-image");
    let unsigned = registries().referrers.image("another-image");
    signers().trusted.sign(&signed.by_digest());
    let signatures = signed.signatures();
    assert_eq!(signatures.len(), 1);
    unsigned.attach(&signatures[0]);
    assert_eq!(unsigned.signatures()[0].envelope, signatures[0].envelope);
    node.refuses_as(&unsigned, &unsigned.by_digest(), "DENIED", &signed.digest);
    node.allows_as(&signed, &signed.by_digest(), "ALLOWED");
}

#[test]
fn a_tampered_envelope_is_refused() {
    needs!();
    let node = steady_node();
    let changed = "the signature does not fit its content";
    for (part, cause) in [
        ("payload", changed),
        ("protected", "the protected header of the signature envelope cannot be read"),
        ("signature", changed),
    ] {
        let original = registries().referrers.image(&format!("tampered/{part}-original"));
        signers().trusted.sign(&original.by_digest());
        let mut signature = original.signatures().remove(0);
        // The same image in a repository that has only the tampered signature.
        let image = original.copied_to(&format!("tampered/{part}"));
        let envelope = &mut signature.envelope;
        let text = format!("\"{part}\":\"");
        let start = envelope.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap() + text.len();
        let byte = &mut envelope[start + 20];
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        image.attach(&signature);
        node.refuses(&image, "DENIED", cause);
        node.allows(&original, "ALLOWED");
    }
}

#[test]
fn an_expired_signature_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("expired-signature");
    signers().trusted.sign_with(&image.by_digest(), &["--expiry", "1s"]);
    wait_past(std::time::SystemTime::now() + std::time::Duration::from_secs(1));
    node.refuses(&image, "DENIED", "the signature expired at");
}

#[test]
fn a_signature_whose_certificate_has_expired_is_refused() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("expired-certificate");
    let (signer, end) = signers().authority.brief_signer(TRUSTED);
    signer.sign(&image.by_digest());
    wait_past(end);
    node.refuses(&image, "DENIED", "certificate CN=release,O=ratifyd test,ST=WA,C=US expired at");
}

#[test]
fn one_good_signature_is_enough_whichever_comes_first() {
    needs!();
    let node = steady_node();
    let signers = signers();
    let (good, bad) = (&signers.trusted, &signers.other_authority);
    for (order, first, second) in [("good-first", good, bad), ("bad-first", bad, good)] {
        for registry in [&registries().referrers, &registries().distribution] {
            let image = registry.image(&format!("two-signatures/{order}"));
            first.sign(&image.by_digest());
            second.sign(&image.by_digest());
            node.allows(&image, "ALLOWED");
        }
    }
}

#[test]
fn several_bad_signatures_are_not_enough() {
    needs!();
    let node = steady_node();
    let image = registries().referrers.image("bad-signatures");
    signers().other_authority.sign(&image.by_digest());
    signers().other_identity.sign(&image.by_digest());
    node.refuses(&image, "DENIED", "1 more failed");
}
