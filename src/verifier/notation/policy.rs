//! The trust policy of a Notation verifier: which statement is about a repository (trust store and trust policy
//! specification, "Selecting a trust policy"), and what it says before any signature is looked at. Built when
//! configuration is assembled; never looks at a signature itself.

use crate::config::RegistryScopes;
use crate::reference::Repository;
use crate::report::{Failure, Outcome, Stage};

use super::trust::Trust;

/// The statements of a trust policy.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    statements: Vec<Statement>,
    allow_skip: bool,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub scopes: RegistryScopes,
    /// What it trusts; none: it says level `skip`.
    pub trust: Option<Trust>,
}

impl TrustPolicy {
    /// Statements of which no two are about one repository. With `allow_skip` a statement of level `skip` exempts what
    /// it is about; without, it satisfies nothing.
    #[must_use]
    pub fn new(statements: Vec<Statement>, allow_skip: bool) -> Self {
        Self { statements, allow_skip }
    }

    /// What is trusted for a repository.
    ///
    /// # Errors
    /// What is said of every image there, because no signature is asked for, or none could ever do.
    pub(super) fn trust(&self, repository: &Repository) -> Result<&Trust, Outcome> {
        let failed = |cause| Err(Outcome::Failed(Failure { stage: Stage::Authenticity, cause }));
        match self.applicable(repository) {
            Some(Statement { trust: Some(trust), .. }) => Ok(trust),
            Some(Statement { name, .. }) if self.allow_skip => {
                Err(Outcome::Skipped { cause: format!("trust policy {name:?} has level skip for {repository}") })
            }
            Some(Statement { name, .. }) => failed(format!(
                "trust policy {name:?} has level skip for {repository}, which satisfies no rule: set allowSkip = true to \
                 exempt what it names"
            )),
            None => failed(format!(
                "no trust policy applies to {repository}: name it in the registryScopes of one, or add one for \"*\""
            )),
        }
    }

    /// "*Exact match* [...] Otherwise, *Global*."
    fn applicable(&self, repository: &Repository) -> Option<&Statement> {
        let names = |statement: &&Statement| match &statement.scopes {
            RegistryScopes::Any => false,
            RegistryScopes::Repositories(repositories) => repositories.contains(repository),
        };
        let global = |statement: &&Statement| statement.scopes == RegistryScopes::Any;
        self.statements.iter().find(names).or_else(|| self.statements.iter().find(global))
    }
}

impl From<Trust> for TrustPolicy {
    /// The same everywhere.
    fn from(trust: Trust) -> Self {
        let statement = Statement { name: "default".to_owned(), scopes: RegistryScopes::Any, trust: Some(trust) };
        Self::new(vec![statement], false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::trust;
    use super::*;
    use crate::reference::Reference;

    fn repository(name: &str) -> Repository {
        name.parse::<Reference>().unwrap().repository
    }

    fn policy(statements: &[(&str, &[&str], bool)], allow_skip: bool) -> TrustPolicy {
        let statement = |(name, scopes, verifies): &(&str, &[&str], bool)| Statement {
            name: (*name).to_owned(),
            scopes: match scopes {
                ["*"] => RegistryScopes::Any,
                scopes => RegistryScopes::Repositories(scopes.iter().map(|scope| repository(scope)).collect()),
            },
            trust: verifies.then(trust),
        };
        TrustPolicy::new(statements.iter().map(statement).collect(), allow_skip)
    }

    fn name<'a>(policy: &'a TrustPolicy, of: &str) -> Option<&'a str> {
        policy.applicable(&repository(of)).map(|statement| statement.name.as_str())
    }

    #[test]
    fn an_exact_match_goes_before_the_global_statement_wherever_it_stands() {
        let (exact, global): ((_, &[&str], _), (_, &[&str], _)) =
            (("exact", &["r.io/a/b", "r.io/c"], true), ("global", &["*"], true));
        for policy in [policy(&[exact, global], false), policy(&[global, exact], false)] {
            assert_eq!(name(&policy, "r.io/a/b"), Some("exact"));
            assert_eq!(name(&policy, "R.io:443/c"), Some("exact"), "whatever way the host is written");
            for other in ["r.io/a", "r.io/a/b/c", "r.io/a/bb", "s.io/a/b", "r.io:5000/a/b"] {
                assert_eq!(name(&policy, other), Some("global"), "{other}");
            }
        }
        assert_eq!(name(&policy(&[exact], false), "r.io/a"), None);
    }

    #[test]
    fn an_image_that_no_statement_is_about_fails_and_the_cause_says_so() {
        let outcome = policy(&[("exact", &["r.io/a"], true)], true).trust(&repository("r.io/b")).err();
        let cause = "no trust policy applies to r.io/b: name it in the registryScopes of one, or add one for \"*\"";
        assert_eq!(outcome, Some(Outcome::Failed(Failure { stage: Stage::Authenticity, cause: cause.to_owned() })));
    }

    #[test]
    fn level_skip_exempts_only_where_that_is_allowed() {
        let statements: &[(_, &[&str], _)] = &[("unsigned", &["r.io/a"], false), ("rest", &["*"], true)];
        let outcome = policy(statements, true).trust(&repository("r.io/a")).err();
        let cause = "trust policy \"unsigned\" has level skip for r.io/a".to_owned();
        assert_eq!(outcome, Some(Outcome::Skipped { cause }));
        let outcome = policy(statements, false).trust(&repository("r.io/a")).err();
        let Some(Outcome::Failed(Failure { cause, .. })) = outcome else { panic!("{outcome:?}") };
        assert!(cause.contains("satisfies no rule: set allowSkip = true"), "{cause}");
        for allow_skip in [true, false] {
            assert!(policy(statements, allow_skip).trust(&repository("r.io/b")).is_ok());
        }
    }
}
