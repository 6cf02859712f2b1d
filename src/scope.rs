//! Which rules are in force for a repository: the most specific pattern wins, once the host is canonical.
//!
//! Order of specificity, the first that matches decides:
//! 1. a repository, `ghcr.io/acme/web`
//! 2. a namespace of any depth, `ghcr.io/acme/*`; the longer one before the shorter
//! 3. a registry, `ghcr.io` (or `ghcr.io/*`)
//! 4. a domain, `*.example.com`, for hosts with exactly one more label
//! 5. `*`
//!
//! Of each kind and length at most one pattern matches a repository, so the order is total.

use std::cmp::Reverse;
use std::fmt;

use crate::reference::{Reference, Repository, canonical_host, is_label};

/// A pattern of repositories.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// One repository.
    Repository(Repository),
    /// All repositories below a path, at any depth.
    Namespace {
        /// The canonical host.
        registry: String,
        /// The path before `/*`.
        prefix: String,
    },
    /// All repositories of a registry.
    Registry(String),
    /// All registries whose host is one label and this suffix, which starts with a dot and has the port if any.
    Domain(String),
    /// Every repository.
    Any,
}

impl Pattern {
    /// Parses a pattern as configured.
    ///
    /// # Errors
    /// What is wrong with it and how to write it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return domain(suffix).ok_or_else(|| {
                format!("{text:?} is not a domain pattern: write `*.example.com`, with one `*` and no path")
            });
        }
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(format!("{text:?} names no registry: write the host too, as in `docker.io/library/nginx`"));
        }
        let registry = canonical_host(host)?;
        match path {
            None | Some("*") => Ok(Self::Registry(registry)),
            Some(path) => below(text, registry, path),
        }
    }

    fn matches(&self, repository: &Repository) -> bool {
        match self {
            Self::Repository(exact) => exact == repository,
            Self::Namespace { registry, prefix } => {
                registry == repository.registry()
                    && repository.path().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            Self::Registry(registry) => registry == repository.registry(),
            Self::Domain(suffix) => repository.registry().strip_suffix(suffix.as_str()).is_some_and(is_label),
            Self::Any => true,
        }
    }

    /// The place in the order of specificity: kind first, then length.
    fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Repository(_) => (5, 0),
            Self::Namespace { prefix, .. } => (4, prefix.len()),
            Self::Registry(_) => (3, 0),
            Self::Domain(_) => (2, 0),
            Self::Any => (1, 0),
        }
    }
}

fn domain(suffix: &str) -> Option<Pattern> {
    if suffix.contains(['/', '*']) {
        return None;
    }
    // A label in front makes it a host, and its canonical form the suffix's.
    let host = canonical_host(&format!("x.{suffix}")).ok()?;
    host.strip_prefix('x').filter(|suffix| suffix.starts_with('.')).map(|suffix| Pattern::Domain(suffix.to_owned()))
}

fn below(text: &str, registry: String, path: &str) -> Result<Pattern, String> {
    if path.contains(['@', ':']) {
        return Err(format!(
            "{text:?} has a tag or a digest: a scope is a repository; exact digests go under `digests`"
        ));
    }
    let prefix = path.strip_suffix("/*");
    if prefix.unwrap_or(path).contains('*') {
        return Err(format!("{text:?} has a `*` that is not the whole last component: write `{registry}/namespace/*`"));
    }
    // Through the grammar of names, so that a pattern is written as the repositories that it should match.
    let sample = format!("{registry}/{}", prefix.map_or_else(|| path.to_owned(), |prefix| format!("{prefix}/x")));
    let repository = sample.parse::<Reference>().map_err(|error| error.to_string())?.repository;
    Ok(match prefix {
        Some(prefix) => Pattern::Namespace { registry, prefix: prefix.to_owned() },
        None => Pattern::Repository(repository),
    })
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(repository) => write!(f, "{repository}"),
            Self::Namespace { registry, prefix } => write!(f, "{registry}/{prefix}/*"),
            Self::Registry(registry) => f.write_str(registry),
            Self::Domain(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// What is in force where. Patterns are distinct: whoever builds it has refused a pattern given twice.
#[derive(Debug)]
pub struct Scopes<T> {
    entries: Vec<(Pattern, T)>,
}

impl<T> Scopes<T> {
    /// Orders patterns by specificity.
    pub fn new(mut entries: Vec<(Pattern, T)>) -> Self {
        entries.sort_by_key(|(pattern, _)| Reverse(pattern.specificity()));
        Self { entries }
    }

    /// The most specific pattern that matches, and what is in force there.
    pub fn find(&self, repository: &Repository) -> Option<(&Pattern, &T)> {
        self.entries.iter().find(|(pattern, _)| pattern.matches(repository)).map(|(pattern, value)| (pattern, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes(patterns: &[&str]) -> Scopes<()> {
        Scopes::new(patterns.iter().map(|pattern| (Pattern::parse(pattern).unwrap(), ())).collect())
    }

    fn found(scopes: &Scopes<()>, name: &str) -> String {
        let repository = name.parse::<Reference>().unwrap().repository;
        scopes.find(&repository).map_or_else(|| "nothing".to_owned(), |(pattern, ())| pattern.to_string())
    }

    #[test]
    fn the_most_specific_pattern_wins_in_whatever_order_they_are_written() {
        let mut patterns = vec![
            "*",
            "*.example.com",
            "reg.example.com",
            "reg.example.com/a/*",
            "reg.example.com/a/b/*",
            "reg.example.com/a/b/c",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let scopes = scopes(&patterns);
            assert_eq!(found(&scopes, "reg.example.com/a/b/c:v1"), "reg.example.com/a/b/c");
            assert_eq!(found(&scopes, "reg.example.com/a/b/d"), "reg.example.com/a/b/*");
            assert_eq!(found(&scopes, "reg.example.com/a/b/c/d"), "reg.example.com/a/b/*");
            assert_eq!(found(&scopes, "reg.example.com/a/x"), "reg.example.com/a/*");
            assert_eq!(found(&scopes, "reg.example.com/ab/x"), "reg.example.com");
            assert_eq!(found(&scopes, "reg.example.com/a"), "reg.example.com");
            assert_eq!(found(&scopes, "other.example.com/a"), "*.example.com");
            assert_eq!(found(&scopes, "x.other.example.com/a"), "*");
            assert_eq!(found(&scopes, "example.com/a"), "*");
            assert_eq!(found(&scopes, "nginx"), "*");
        }
    }

    #[test]
    fn a_port_is_part_of_the_host() {
        let scopes =
            scopes(&["reg.example.com:5000", "*.example.com:5000/".trim_end_matches('/'), "localhost:5000/a/*"]);
        assert_eq!(found(&scopes, "reg.example.com:5000/a"), "reg.example.com:5000");
        assert_eq!(found(&scopes, "x.example.com:5000/a"), "*.example.com:5000");
        assert_eq!(found(&scopes, "reg.example.com/a"), "nothing");
        assert_eq!(found(&scopes, "localhost:5000/a/b"), "localhost:5000/a/*");
    }

    #[test]
    fn a_scope_cannot_be_dodged_by_writing_the_host_in_another_way() {
        let scopes = scopes(&["Index.Docker.io/nginx", "GHCR.io.:443/acme/*"]);
        assert_eq!(found(&scopes, "docker.io:443/library/nginx"), "docker.io/library/nginx");
        assert_eq!(found(&scopes, "ghcr.IO/acme/web"), "ghcr.io/acme/*");
    }

    #[test]
    fn patterns_that_are_none_say_how_to_write_them() {
        for (pattern, words) in [
            ("", "names no registry"),
            ("nginx", "names no registry"),
            ("acme/web", "names no registry"),
            ("ghcr.io/acme/web:v1", "a tag or a digest"),
            ("ghcr.io/acme/web@sha256:1", "a tag or a digest"),
            ("ghcr.io/*/web", "whole last component"),
            ("ghcr.io/ac*", "whole last component"),
            ("ghcr.io/acme/**", "whole last component"),
            ("*.*.example.com", "domain pattern"),
            ("*.example.com/a", "domain pattern"),
            ("*.", "domain pattern"),
            ("ghcr.io/ACME", "not an image name"),
            ("ghcr.io//*", "not an image name"),
            ("gh_cr.io", "not a host"),
            ("ghcr.io:0", "port"),
        ] {
            let error = Pattern::parse(pattern).expect_err(pattern);
            assert!(error.contains(words), "{pattern:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn precedence_does_not_depend_on_the_order_of_the_file(
            paths in proptest::collection::btree_set("[ab](/[ab]){0,3}(/\\*)?", 1..8),
            seed in any::<prop::sample::Index>(),
            path in "[ab](/[ab]){0,4}",
        ) {
            let mut patterns: Vec<_> = paths.iter().map(|path| format!("r.io/{path}")).collect();
            let name = format!("r.io/{path}");
            let borrowed: Vec<_> = patterns.iter().map(String::as_str).collect();
            let one = found(&scopes(&borrowed), &name);
            let middle = seed.index(patterns.len());
            patterns.rotate_left(middle);
            patterns.reverse();
            let borrowed: Vec<_> = patterns.iter().map(String::as_str).collect();
            prop_assert_eq!(one, found(&scopes(&borrowed), &name));
        }
    }
}
