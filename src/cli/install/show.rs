//! What `install` shows before anything is enabled: what the policy says of the images that are on the node, and what
//! would let those in that it refuses, as TOML to paste.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::judge::Judge;
use crate::cli::present::{Judged, Present};
use crate::reference::Reference;
use crate::verdict::{Token, printable};

/// The images in words.
pub(super) fn images(present: &Present, judge: &Judge) -> String {
    let refused: Vec<&Judged> = present.images.iter().filter(|image| !image.token.allows()).collect();
    let all = present.images.len();
    let by = if judge.is_daemon() { "the daemon" } else { "the configuration" };
    let mut text = format!("Images here: {} of {all} would be let in by {by}", all.saturating_sub(refused.len()));
    if present.left_out > 0 {
        let _ = write!(text, "; {} more were not looked at", present.left_out);
    }
    text.push('\n');
    for image in refused.iter().take(SHOWN) {
        let sandbox = if image.sandbox { " (no pod starts without it)" } else { "" };
        let line = format!("{:<13} {}{sandbox}: {}", image.token.as_str(), image.reference, image.cause);
        let _ = writeln!(text, "  {}", printable(&line));
    }
    if refused.len() > SHOWN {
        let _ = writeln!(text, "  and {} more", refused.len().saturating_sub(SHOWN));
    }
    text
}

/// What would let in what is refused, as TOML; nothing where nothing is.
pub(super) fn pins(present: &Present, judge: &Judge) -> String {
    let mut unscoped: Vec<(&Judged, Reference)> = Vec::new();
    let mut scoped: BTreeMap<String, Vec<&Judged>> = BTreeMap::new();
    for image in present.images.iter().filter(|image| image.token == Token::Denied && image.descriptor.is_some()) {
        let Ok(reference) = image.reference.parse::<Reference>() else { continue };
        match judge.scope_of(&reference.repository) {
            Err(()) => return String::new(),
            Ok(Some(scope)) => scoped.entry(scope).or_default().push(image),
            Ok(None) => unscoped.push((image, reference)),
        }
    }
    let mut text = String::new();
    if !unscoped.is_empty() {
        let mut scopes: Vec<String> =
            unscoped.iter().map(|(_, named)| format!("{:?}", named.repository.to_string())).collect();
        scopes.sort();
        scopes.dedup();
        let images: Vec<&Judged> = unscoped.iter().map(|(image, _)| *image).collect();
        let _ = write!(
            text,
            "[[executors]]  # let in as they are now, and in no other version\nscopes = [{}]\nmode = \"deny\"\n{}",
            scopes.join(", "),
            digests(&images)
        );
    }
    for (scope, images) in scoped {
        let _ = write!(text, "# In the executor that has {scope:?} among its scopes, add:\n{}", digests(&images));
    }
    text
}

/// The digests of images, each with its name.
fn digests(images: &[&Judged]) -> String {
    let mut lines = String::from("digests = [\n");
    for image in images {
        if let Some(descriptor) = &image.descriptor {
            let _ = writeln!(lines, "  \"{}\",  # {}", descriptor.digest, printable(&image.reference));
        }
    }
    lines + "]\n"
}

/// Most refused images that are listed.
const SHOWN: usize = 50;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::admission::{Admission, Mode, Rules};
    use crate::artifact::{Descriptor, IMAGE_MANIFEST};
    use crate::config::{Remember, Unmatched};
    use crate::scope::{Pattern, Scopes};

    fn judge(scope: &str) -> Judge {
        let store = crate::assemble::default_store(None).unwrap();
        let rules = Rules { mode: Mode::Deny, pins: BTreeSet::new(), store };
        let scopes = Scopes::new(vec![(Pattern::parse(scope).unwrap(), Arc::new(rules))]);
        let remember = Remember::default();
        Judge::here(Admission { scopes, unmatched: Unmatched::Deny, remember, generation: [0; 32] })
    }

    fn image(reference: &str, digit: char, token: Token) -> Judged {
        let digest = format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap();
        Judged {
            reference: reference.to_owned(),
            also: Vec::new(),
            descriptor: Some(Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size: 7 }),
            namespaces: vec!["k8s.io".to_owned()],
            sandbox: reference.contains("pause"),
            token,
            cause: "because".to_owned(),
        }
    }

    fn present() -> Present {
        let images = vec![
            image("registry.k8s.io/pause:3.10", 'a', Token::Denied),
            image("docker.io/rancher/coredns:1", 'b', Token::Denied),
            image("ghcr.io/acme/web:v1", 'c', Token::Denied),
            image("ghcr.io/acme/late:v1", 'd', Token::Unavailable),
            image("ghcr.io/acme/fine:v1", 'e', Token::Allowed),
        ];
        Present { images, left_out: 2 }
    }

    #[test]
    fn refused_images_are_listed_with_their_cause_and_the_others_are_counted() {
        let text = images(&present(), &judge("ghcr.io/acme/*"));
        assert!(
            text.starts_with("Images here: 1 of 5 would be let in by the configuration; 2 more were not"),
            "{text}"
        );
        assert!(
            text.contains("\n  DENIED        registry.k8s.io/pause:3.10 (no pod starts without it): because\n"),
            "{text}"
        );
        assert!(!text.contains("fine"), "{text}");
    }

    #[test]
    fn pins_are_ready_to_paste_and_let_in_what_was_refused() {
        let text = pins(&present(), &judge("ghcr.io/acme/*"));
        let (new, added) = text.split_once("# In the executor").unwrap();
        let file = format!("unmatched = \"deny\"\n{new}");
        let config = crate::config::parse("pasted", &file, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        let scopes: Vec<&str> = config.executors[0].scopes.iter().map(|scope| scope.value.as_str()).collect();
        assert_eq!(scopes, ["docker.io/rancher/coredns", "registry.k8s.io/pause"]);
        assert_eq!(config.executors[0].digests.len(), 2);
        // Where a scope verifies already, an executor of its own would keep signed images out.
        assert!(
            added.starts_with(" that has \"ghcr.io/acme/*\" among its scopes, add:\ndigests = [\n  \"sha256:cccc"),
            "{added}"
        );
        assert!(!text.contains("sha256:d") && !text.contains("sha256:e"), "{text}");
        assert_eq!(pins(&Present { images: Vec::new(), left_out: 0 }, &judge("*")), "");
    }
}
