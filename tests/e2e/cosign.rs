//! What the real cosign signs and attests, in every form: whose it is, of what, and where it lies.

use super::common::cosign::{Form, Keys, Signer, keys};
use super::common::node::Node;
use super::common::notation::{Key, signers};
use super::common::registries::{Image, registries};
use super::needs;
use super::proxy::{Proxy, Rule};

const UNSIGNED: &str = "no signature for verifier \"release\": nothing refers to this image";

/// An executor for a host with one verifier that has these parameters.
fn executor(host: &str, parameters: &str) -> String {
    verified(host, &[("release", parameters)], "")
}

/// An executor with verifiers of these names and parameters, and more keys.
fn verified(host: &str, verifiers: &[(&str, &str)], more: &str) -> String {
    let verifiers = verifiers.iter().map(|(name, parameters)| {
        format!(
            "[[executors.verifiers]]\nname = {name:?}\ntype = \"cosign\"\n[executors.verifiers.parameters]\n{parameters}\n"
        )
    });
    // Signatures come and go here, and nothing of that is remembered.
    let remember = "[remember]\nallow = \"0s\"\ndeny = \"0s\"\nreferrers = \"0s\"\n";
    format!("[[executors]]\nscopes = [{host:?}]\n{}{more}\n{remember}", verifiers.collect::<String>())
}

/// Trusts one key, and asks for nothing else.
fn trusting(signer: &Signer) -> String {
    trusting_with(signer, "")
}

/// The same with more keys of the trust policy.
fn trusting_with(signer: &Signer, more: &str) -> String {
    format!("trustPolicies = [{{ keys = {{ files = [{:?}] }}, ignoreTLog = true{more} }}]", signer.public())
}

/// A node that trusts the trusted key for a registry, with more parameters of its verifier.
fn node_for(host: &str, more: &str) -> Node {
    Node::start(&executor(host, &format!("{}\n{more}", trusting(&keys().trusted))))
}

fn image(name: &str) -> Image {
    registries().referrers.image(&format!("cosign/{name}"))
}

fn node() -> Node {
    node_for(&registries().referrers.host, "")
}

#[test]
fn an_image_signed_by_the_trusted_key_is_pulled_in_every_form_and_from_every_registry() {
    needs!();
    for registry in [&registries().referrers, &registries().distribution, &registries().crane] {
        let node = node_for(&registry.host, "");
        for form in Form::ALL {
            let image = registry.image("cosign/forms");
            keys().trusted.sign(form, &image.by_digest());
            node.allows(&image, "ALLOWED");
            let image = registry.image("cosign/forms");
            keys().stranger.sign(form, &image.by_digest());
            node.refuses(&image, "DENIED", "release: ");
        }
        node.refuses(&registry.image("cosign/forms"), "DENIED", UNSIGNED);
    }
}

#[test]
fn keys_of_every_kind_that_cosign_takes_are_taken() {
    needs!();
    let host = &registries().referrers.host;
    for (name, key) in [
        ("p-384", Key::Curve("P-384")),
        ("p-521", Key::Curve("P-521")),
        ("rsa-2048", Key::Rsa(2048)),
        ("rsa-3072", Key::Rsa(3072)),
        ("rsa-4096", Key::Rsa(4096)),
    ] {
        let signer = Signer::create(key);
        let node = Node::start(&executor(host, &trusting(&signer)));
        for form in [Form::Bundle, Form::Tag] {
            let image = image(name);
            signer.sign(form, &image.by_digest());
            node.allows(&image, "ALLOWED");
        }
    }
}

#[test]
fn what_cosign_signs_with_an_ed25519_key_is_refused_as_its_own_verify_refuses_it() {
    needs!();
    // It signs the hash (Ed25519ph), and takes no such signature of an image.
    let signer = Signer::create(Key::Ed25519);
    let node = Node::start(&executor(&registries().referrers.host, &trusting(&signer)));
    for form in [Form::Bundle, Form::Tag] {
        let image = image("ed25519");
        signer.sign(form, &image.by_digest());
        assert_ne!(signer.verify(form, &image.by_digest()).code, Some(0), "cosign takes it by now");
        node.refuses(&image, "DENIED", "release: ");
    }
}

#[test]
fn an_attestation_is_no_signature_and_is_taken_where_it_is_asked_for() {
    needs!();
    let (node, host) = (node(), &registries().referrers.host);
    let attesting = |predicate: &str| node_for(host, &format!("predicateTypes = [{predicate:?}]"));
    let (asked, other) = (attesting("https://spdx.dev/Document"), attesting("https://slsa.dev/provenance/v1"));
    for form in [Form::Bundle, Form::Tag] {
        let attested = image("attested");
        keys().trusted.attest(form, &attested.by_digest());
        asked.allows(&attested, "ALLOWED");
        let why = if form == Form::Bundle { "it is an attestation" } else { UNSIGNED };
        node.refuses(&attested, "DENIED", why);
        other.refuses(&attested, "DENIED", "it attests \"https://spdx.dev/Document\"");
        let signed = image("attested");
        keys().trusted.sign(form, &signed.by_digest());
        node.allows(&signed, "ALLOWED");
        let why = if form == Form::Bundle { "it is a signature, not an attestation" } else { UNSIGNED };
        asked.refuses(&signed, "DENIED", why);
        let stranger = image("attested");
        keys().stranger.attest(form, &stranger.by_digest());
        asked.refuses(&stranger, "DENIED", "release: ");
    }
}

#[test]
fn a_bundle_of_another_image_is_refused() {
    needs!();
    let node = node();
    let [signed, other] = [image("moved"), image("moved")];
    keys().trusted.sign(Form::Bundle, &signed.by_digest());
    other.attach(&signed.signatures()[0]);
    node.refuses(&other, "DENIED", "not of this image");
    node.allows(&signed, "ALLOWED");
}

#[test]
fn a_signature_of_another_image_under_the_tag_of_this_one_is_refused() {
    needs!();
    let node = node();
    let [signed, other] = [image("tagged"), image("tagged")];
    keys().trusted.sign(Form::Tag, &signed.by_digest());
    other.take_tag(&signed, "sig");
    node.refuses(&other, "DENIED", "not this image");
}

#[test]
fn the_name_that_was_signed_must_be_the_images_unless_the_configuration_says_otherwise() {
    needs!();
    let host = &registries().referrers.host;
    let signed = image("named");
    keys().trusted.sign(Form::Tag, &signed.by_digest());
    // The same image with the same signature under another name.
    let copy = signed.copied_to("cosign/relocated");
    copy.take_tag(&signed, "sig");
    node().refuses(&copy, "DENIED", "it was signed as");
    node_for(host, "dockerReference = \"ignore\"").allows(&copy, "ALLOWED");
    let rule = format!("remap = [{{ from = {:?}, to = {:?} }}]", copy.repository, signed.repository);
    node_for(host, &rule).allows(&copy, "ALLOWED");
    node_for(host, "dockerReference = \"exact\"").allows(&signed, "ALLOWED");
}

#[test]
fn what_must_be_stated_is_asked_for() {
    needs!();
    let host = &registries().referrers.host;
    let node = Node::start(&executor(host, &trusting_with(&keys().trusted, ", annotations = { env = \"prod\" }")));
    for form in [Form::Bundle, Form::Tag] {
        let image = |value: &[&str]| {
            let image = image("stated");
            keys().trusted.sign_with(form, &image.by_digest(), value, None);
            image
        };
        node.allows(&image(&["-a", "env=prod", "-a", "other=1"]), "ALLOWED");
        node.refuses(&image(&["-a", "env=test"]), "DENIED", "it states env = \"test\"");
        node.refuses(&image(&[]), "DENIED", "it does not state env");
    }
}

#[test]
fn two_of_two_keys_are_two_signers_and_one_that_signs_twice_is_one() {
    needs!();
    let host = &registries().referrers.host;
    let Keys { trusted, second, .. } = keys();
    let both = format!(
        "trustPolicies = [{{ ignoreTLog = true, keys = [{{ name = \"a\", file = {:?} }}, {{ name = \"b\", file = {:?} }}] }}]",
        trusted.public(),
        second.public()
    );
    let policy = "[executors.policyEnforcer]\ntype = \"threshold-policy\"\n[executors.policyEnforcer.parameters.policy]\n\
                  threshold = 2\nrules = [{ verifierName = \"a\" }, { verifierName = \"b\" }]\n";
    let apart = verified(host, &[("a", &trusting(trusted)), ("b", &trusting(second))], policy);
    let together = verified(host, &[("a", &both), ("b", &both)], policy);
    for configuration in [apart, together] {
        let node = Node::start(&configuration);
        for form in [Form::Bundle, Form::Tag] {
            let image = image("two-of-two");
            trusted.sign(form, &image.by_digest());
            trusted.sign(Form::Bundle, &image.by_digest());
            node.refuses(&image, "DENIED", "");
            let image = self::image("two-of-two");
            [trusted, second].iter().for_each(|signer| signer.sign(form, &image.by_digest()));
            node.allows(&image, "ALLOWED");
        }
    }
}

#[test]
fn an_image_with_more_signatures_than_are_judged_is_refused() {
    needs!();
    let node = node_for(&registries().referrers.host, "maxSignatures = 2");
    for form in [Form::Bundle, Form::Tag] {
        let image = image("many");
        (0..2).for_each(|_| Signer::create(Key::Curve("P-256")).sign(form, &image.by_digest()));
        node.refuses(&image, "DENIED", "release: ");
        Signer::create(Key::Curve("P-256")).sign(form, &image.by_digest());
        node.refuses_as(&image, &image.by_digest(), "DENIED", "there are more than 2 signatures of it");
    }
}

#[test]
fn signatures_in_another_repository_are_found_by_rule_and_by_nothing_else() {
    needs!();
    let host = &registries().referrers.host;
    for form in [Form::Bundle, Form::Tag] {
        let image = image("elsewhere");
        let repository = format!("{host}/signatures/{form:?}").to_lowercase();
        keys().trusted.sign_with(form, &image.by_digest(), &[], Some(&repository));
        let rule = format!("signatureRepository = [{{ from = {host:?}, to = {repository:?} }}]");
        node_for(host, &rule).allows(&image, "ALLOWED");
        node().refuses(&image, "DENIED", UNSIGNED);
    }
}

#[test]
fn tags_are_not_looked_at_where_the_store_says_so() {
    needs!();
    let host = &registries().referrers.host;
    let store = "[[executors.stores]]\ntype = \"registry-store\"\nparameters.allowCosignTag = false\n";
    let node = Node::start(&verified(host, &[("release", &trusting(&keys().trusted))], store));
    let [tagged, bundled] = [image("no-tags"), image("no-tags")];
    keys().trusted.sign(Form::Tag, &tagged.by_digest());
    keys().trusted.sign(Form::Bundle, &bundled.by_digest());
    node.refuses(&tagged, "DENIED", UNSIGNED);
    node.allows(&bundled, "ALLOWED");
}

#[test]
fn a_registry_that_cannot_tell_what_stands_at_a_tag_refuses_what_is_not_signed_elsewhere() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::FailTags);
    let node = node_for(&proxy.host, "dockerReference = \"ignore\"");
    let [unsigned, tagged, bundled] = ["unsigned", "tagged", "bundled"].map(|name| image(&format!("faulty/{name}")));
    keys().trusted.sign(Form::Tag, &tagged.by_digest());
    keys().trusted.sign(Form::Bundle, &bundled.by_digest());
    node.refuses(&unsigned.at(&proxy.host), "UNAVAILABLE", ".sig");
    node.refuses(&tagged.at(&proxy.host), "UNAVAILABLE", ".sig");
    node.allows(&bundled.at(&proxy.host), "ALLOWED");
    proxy.set(Rule::Pass);
    node.allows(&tagged.at(&proxy.host), "ALLOWED");
    node.refuses(&unsigned.at(&proxy.host), "DENIED", UNSIGNED);
}

#[test]
fn a_key_file_that_goes_and_comes_back_counts_at_once() {
    needs!();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("release.pub");
    let put = || std::fs::copy(keys().trusted.public(), &file).unwrap();
    put();
    let policy = format!("trustPolicies = [{{ keys = {{ files = [{file:?}] }}, ignoreTLog = true }}]");
    let node = Node::start(&executor(&registries().referrers.host, &policy));
    let signed = image("reload");
    keys().trusted.sign(Form::Bundle, &signed.by_digest());
    node.allows_as(&signed, &signed.by_digest(), "ALLOWED");
    std::fs::remove_file(&file).unwrap();
    let another = image("reload");
    keys().trusted.sign(Form::Bundle, &another.by_digest());
    node.refuses(&another, "MISCONFIGURED", "release.pub");
    std::fs::copy(keys().stranger.public(), &file).unwrap();
    node.refuses(&another, "DENIED", "release: ");
    put();
    node.allows(&another, "ALLOWED");
}

#[test]
fn notation_and_cosign_are_asked_side_by_side() {
    needs!();
    let host = &registries().referrers.host;
    let notation = format!(
        "[[executors.verifiers]]\nname = \"notary\"\ntype = \"notation\"\nparameters.certificates = [{{ files = [{:?}] }}]\n",
        signers().authority.certificate()
    );
    let node = Node::start(&verified(host, &[("release", &trusting(&keys().trusted))], &notation));
    let image = image("both");
    keys().trusted.sign(Form::Tag, &image.by_digest());
    node.refuses(&image, "DENIED", "no signature for verifier \"notary\"");
    signers().trusted.sign(&image.by_digest());
    node.allows(&image, "ALLOWED");
}
