//! The image by each of its names, of one platform and of several, in each kind of registry.

use super::common::notation::signers;
use super::common::registries::{Registry, registries};
use super::{UNSIGNED, needs, steady_node};

/// The referrers API, and twice its fallback, the referrers tag schema.
fn each_registry() -> [(&'static str, &'static Registry); 3] {
    let registries = registries();
    [("api", &registries.referrers), ("distribution", &registries.distribution), ("crane", &registries.crane)]
}

#[test]
fn a_signed_image_is_pulled_by_each_of_its_names_from_each_kind_of_registry() {
    needs!();
    let node = steady_node();
    for (kind, registry) in each_registry() {
        let image = registry.image(&format!("names/signed-{kind}"));
        signers().trusted.sign(&image.by_digest());
        for name in [image.by_tag(), image.by_digest(), image.by_tag_and_digest()] {
            node.allows_as(&image, &name, "ALLOWED");
        }
    }
}

#[test]
fn an_unsigned_image_is_refused_by_each_of_its_names_in_each_kind_of_registry() {
    needs!();
    let node = steady_node();
    for (kind, registry) in each_registry() {
        let image = registry.image(&format!("names/unsigned-{kind}"));
        for name in [image.by_tag(), image.by_digest(), image.by_tag_and_digest()] {
            node.refuses_as(&image, &name, "DENIED", UNSIGNED);
        }
    }
}

#[test]
fn a_signed_multi_platform_image_is_pulled() {
    needs!();
    let node = steady_node();
    for (kind, registry) in each_registry() {
        let (image, _) = registry.multi_platform_image(&format!("names/index-{kind}"));
        signers().trusted.sign(&image.by_digest());
        for name in [image.by_tag(), image.by_digest(), image.by_tag_and_digest()] {
            node.allows_as(&image, &name, "ALLOWED");
        }
    }
}

#[test]
fn the_signature_of_one_platform_does_not_vouch_for_the_whole_image() {
    needs!();
    let node = steady_node();
    let (image, part) = registries().referrers.multi_platform_image("names/part");
    signers().trusted.sign(&part.by_digest());
    node.refuses(&image, "DENIED", UNSIGNED);
    node.allows_as(&part, &part.by_digest(), "ALLOWED");
}
