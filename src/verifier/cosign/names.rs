//! Names that stand for others: where signatures of an image lie, and under which name an image was signed. Read when
//! configuration is assembled; never asks anybody.

use crate::config::DockerReference;
use crate::reference::{Reference, Repository};
use crate::scope::{Pattern, Scopes};

/// What stands for the repositories of some patterns; the most specific one wins.
#[derive(Debug)]
pub struct Rewrites(Scopes<Target>);

#[derive(Clone, Debug)]
enum Target {
    /// This repository.
    One(Repository),
    /// What is below the pattern, below this: a registry, or one with a path.
    Below(String),
}

impl Rewrites {
    /// Rules as configured: pattern and target each. The error says which of them is wrong, and how.
    ///
    /// # Errors
    /// One for each that cannot be read, with its index.
    pub fn parse<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Vec<(usize, String)>> {
        let (mut entries, mut problems): (Vec<(Pattern, Target)>, Vec<_>) = (Vec::new(), Vec::new());
        for (index, (from, to)) in rules.into_iter().enumerate() {
            match rule(from, to) {
                Ok((pattern, _)) if entries.iter().any(|(known, _)| *known == pattern) => {
                    problems.push((index, format!("{pattern} is given twice")));
                }
                Ok(entry) => entries.push(entry),
                Err(cause) => problems.push((index, cause)),
            }
        }
        if problems.is_empty() { Ok(Self(Scopes::new(entries))) } else { Err(problems) }
    }

    /// What stands for a repository, if anything.
    #[must_use]
    pub fn apply(&self, repository: &Repository) -> Option<Repository> {
        let (pattern, target) = self.0.find(repository)?;
        match target {
            Target::One(target) => Some(target.clone()),
            Target::Below(base) => {
                let rest = rest(pattern, repository)?;
                // Too long for a name: then there is none.
                format!("{base}/{rest}").parse::<Reference>().ok().map(|reference| reference.repository)
            }
        }
    }
}

fn rule(from: &str, to: &str) -> Result<(Pattern, Target), String> {
    let pattern = Pattern::parse(from)?;
    let target = match Pattern::parse(to)? {
        Pattern::Repository(repository) => Target::One(repository),
        Pattern::Namespace { registry, prefix } => Target::Below(format!("{registry}/{prefix}")),
        Pattern::Registry(registry) if to.ends_with("/*") => Target::Below(registry),
        Pattern::Registry(_) | Pattern::Domain(_) | Pattern::Any => {
            return Err(format!("{to:?} is no place for images: write a repository, or what is before them with /*"));
        }
    };
    if matches!((&pattern, &target), (Pattern::Repository(_), Target::Below(_))) {
        return Err(format!("{from:?} is one repository, with nothing below it: write the one that stands for it"));
    }
    Ok((pattern, target))
}

/// The part of a repository's name that is below a pattern.
fn rest<'a>(pattern: &Pattern, repository: &'a Repository) -> Option<&'a str> {
    let path = repository.path();
    match pattern {
        Pattern::Namespace { prefix, .. } => {
            path.strip_prefix(prefix.as_str()).map(|rest| rest.trim_start_matches('/'))
        }
        Pattern::Registry(_) | Pattern::Domain(_) | Pattern::Any => Some(path),
        Pattern::Repository(_) => None,
    }
}

/// Whether the name that a signature states is that of an image's repository.
///
/// # Errors
/// What it states, and what it must, in words.
pub fn check_reference(
    stated: &str,
    repository: &Repository,
    remap: &Rewrites,
    rule: DockerReference,
) -> Result<(), String> {
    if rule == DockerReference::Ignore {
        return Ok(());
    }
    let expected = remap.apply(repository);
    let expected = expected.as_ref().unwrap_or(repository);
    let hint = "set dockerReference, or remap for a mirror";
    let named: Reference =
        stated.parse().map_err(|error| format!("the signed docker-reference is no name: {error}"))?;
    if named.repository != *expected {
        return Err(format!("it was signed as {}, expected {expected} ({hint})", named.repository));
    }
    if rule == DockerReference::Exact && (named.tag.is_some() || named.digest.is_some()) {
        return Err(format!("it was signed as {named}, expected {expected} and nothing more ({hint})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        name.parse::<Reference>().unwrap().repository
    }

    #[test]
    fn what_stands_for_a_repository_is_told_by_the_most_specific_pattern() {
        let rules = Rewrites::parse([
            ("*", "sigs.example/all"),
            ("ghcr.io/acme/*", "sigs.example/acme/*"),
            ("ghcr.io/acme/web", "sigs.example/web"),
            ("mirror.example", "ghcr.io/*"),
            ("mirror.example/docker.io/*", "docker.io/*"),
        ])
        .unwrap();
        for (name, expected) in [
            ("quay.io/x/y", "sigs.example/all"),
            ("ghcr.io/acme/web", "sigs.example/web"),
            ("ghcr.io/acme/web/api", "sigs.example/acme/web/api"),
            ("ghcr.io/acmeweb/api", "sigs.example/all"),
            ("mirror.example/a/b", "ghcr.io/a/b"),
            ("mirror.example/docker.io/library/nginx", "docker.io/library/nginx"),
        ] {
            assert_eq!(rules.apply(&repository(name)), Some(repository(expected)), "{name}");
        }
        assert_eq!(Rewrites::parse([]).unwrap().apply(&repository("r.io/a")), None);
    }

    #[test]
    fn rules_that_lead_nowhere_are_refused() {
        for (from, to, cause) in [
            ("ghcr.io/a", "sigs.example/*", "is one repository, with nothing below it"),
            ("ghcr.io", "sigs.example", "is no place for images"),
            ("ghcr.io", "*", "is no place for images"),
            ("acme/web", "sigs.example/a", "names no registry"),
            ("ghcr.io", "sigs.example/a:v1", "has a tag or a digest"),
        ] {
            let problems = Rewrites::parse([("r.io", "s.io/a"), (from, to)]).unwrap_err();
            assert!(matches!(problems.as_slice(), [(1, found)] if found.contains(cause)), "{from} {to}: {problems:?}");
        }
        let twice = Rewrites::parse([("r.io", "s.io/a"), ("r.io/*", "s.io/b")]).unwrap_err();
        assert_eq!(twice, [(1, "r.io is given twice".to_owned())]);
    }

    #[test]
    fn the_signed_name_must_be_the_images_unless_it_does_not_count() {
        let remap = Rewrites::parse([("mirror.example", "ghcr.io/*")]).unwrap();
        let check = |stated: &str, pulled: &str, rule| check_reference(stated, &repository(pulled), &remap, rule);
        for (stated, pulled, [exact, by_repository]) in [
            ("ghcr.io/acme/web", "ghcr.io/acme/web", [true, true]),
            ("ghcr.io/acme/web:v1", "ghcr.io/acme/web", [false, true]),
            ("index.docker.io/library/nginx", "docker.io/library/nginx", [true, true]),
            ("ghcr.io/acme/web", "mirror.example/acme/web", [true, true]),
            ("mirror.example/acme/web", "mirror.example/acme/web", [false, false]),
            ("ghcr.io/acme/web2", "ghcr.io/acme/web", [false, false]),
            ("ghcr.io/acme", "ghcr.io/acme/web", [false, false]),
            ("evil.io/acme/web", "ghcr.io/acme/web", [false, false]),
            ("", "ghcr.io/acme/web", [false, false]),
        ] {
            assert_eq!(check(stated, pulled, DockerReference::Exact).is_ok(), exact, "{stated} {pulled}");
            assert_eq!(check(stated, pulled, DockerReference::Repository).is_ok(), by_repository, "{stated} {pulled}");
            assert!(check(stated, pulled, DockerReference::Ignore).is_ok());
        }
        let cause = check("ghcr.io/a", "r.io/b", DockerReference::Repository).unwrap_err();
        assert_eq!(cause, "it was signed as ghcr.io/a, expected r.io/b (set dockerReference, or remap for a mirror)");
    }
}
