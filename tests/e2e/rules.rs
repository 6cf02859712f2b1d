//! What the configuration says about an image besides its signatures.

use super::common::node::{Daemon, LINK, Node, executor};
use super::common::notation::signers;
use super::common::registries::registries;
use super::{UNSIGNED, needs};

#[test]
fn each_image_is_judged_by_the_rules_of_its_scope() {
    needs!();
    let registry = &registries().referrers;
    let image = |name: &str| registry.image(&format!("rules/{name}"));
    let host = &registry.host;
    let certificate = signers().authority.certificate();
    let scope = |name: &str| format!("\"{host}/rules/{name}/*\"");
    let pinned = image("pinned");

    let node = Node::start(
        &[
            executor(&scope("enforce"), "", &certificate),
            executor(&scope("audit"), "mode = \"audit\"", &certificate),
            executor(&scope("pinned"), &format!("digests = [\"{}\"]", pinned.digest), &certificate),
            format!("[[executors]]\nscopes = [{}]\nmode = \"allow\"\n", scope("allow")),
            format!("[[executors]]\nscopes = [{}]\nmode = \"deny\"\n", scope("deny")),
        ]
        .concat(),
    );

    node.refuses(&image("enforce"), "DENIED", UNSIGNED);
    let reason = node.allows(&image("audit"), "AUDIT");
    assert!(reason.contains("would be refused: DENIED") && reason.contains(UNSIGNED), "{reason}");
    let signed = image("audit");
    signers().trusted.sign(&signed.by_digest());
    node.allows(&signed, "ALLOWED");

    let reason = node.allows_as(&pinned, &pinned.by_digest(), "EXEMPT");
    assert!(reason.contains("pinned"), "{reason}");
    let not_pinned = image("pinned");
    node.refuses(&not_pinned, "DENIED", UNSIGNED);

    let reason = node.allows(&image("allow"), "EXEMPT");
    assert!(reason.contains("mode \"allow\""), "{reason}");
    let signed = image("deny");
    signers().trusted.sign(&signed.by_digest());
    node.refuses(&signed, "DENIED", "mode \"deny\"");
    node.refuses(&image("elsewhere"), "DENIED", "no scope");
}

#[test]
fn an_image_without_a_scope_is_exempt_where_the_configuration_says_so() {
    needs!();
    let registry = &registries().referrers;
    let scope = format!("\"{}/unmatched/inside/*\"", registry.host);
    let rules = executor(&scope, "", &signers().authority.certificate());
    let node = Node::start(&format!("unmatched = \"allow\"\n{rules}"));
    let reason = node.allows(&registry.image("unmatched/outside"), "EXEMPT");
    assert!(reason.contains("unmatched"), "{reason}");
    node.refuses(&registry.image("unmatched/inside"), "DENIED", UNSIGNED);
}

#[test]
fn a_shim_called_audit_reports_and_never_blocks_daemon_down_included() {
    needs!();
    let registry = &registries().referrers;
    let rules = executor(&format!("\"{}\"", registry.host), "", &signers().authority.certificate());
    let mut node = Node::over(Daemon::start(&rules), &format!("{LINK}-audit"), &[]);
    let unsigned = registry.image("audit-link");
    let reason = node.allows(&unsigned, "AUDIT");
    assert!(reason.contains("not enforcing") && reason.contains("DENIED"), "{reason}");
    let signed = registry.image("audit-link");
    signers().trusted.sign(&signed.by_digest());
    let reason = node.allows(&signed, "AUDIT");
    assert!(reason.contains("ALLOWED"), "{reason}");

    node.daemon.kill();
    let reason = node.allows(&registry.image("audit-link"), "AUDIT");
    assert!(reason.contains("UNAVAILABLE"), "{reason}");
}
