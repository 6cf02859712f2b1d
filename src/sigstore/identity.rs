//! Identities: whom an operator names as signer, and whether a certificate speaks of them. Read when configuration is
//! assembled, asked for each signature. Always compares whole values; a pattern that everything matches is no identity.

use std::collections::BTreeSet;
use std::fmt;

use const_oid::ObjectIdentifier;
use regex::{Regex, RegexBuilder};

use super::certificate::Claims;
use crate::limits;
use crate::pki::name::{self, AttributeType, BadName, Value};
use crate::pki::{AlternativeName, Certificate};

/// A keyless signer: what Fulcio's certificate must say. All of it must hold.
#[derive(Clone, Debug)]
pub struct Identity {
    subject: Matcher,
    issuer: Matcher,
    extensions: Vec<(Extension, Matcher)>,
}

impl Identity {
    /// A signer by its name and by who vouches for it: one without the other names nobody.
    #[must_use]
    pub fn new(subject: Matcher, issuer: Matcher) -> Self {
        Self { subject, issuer, extensions: Vec::new() }
    }

    /// The same, with something more that the certificate must say.
    #[must_use]
    pub fn and(mut self, extension: Extension, expected: Matcher) -> Self {
        self.extensions.push((extension, expected));
        self
    }

    /// Whether a certificate says all of it.
    ///
    /// # Errors
    /// The first thing that it does not say, in words.
    pub fn check(&self, claims: &Claims) -> Result<(), String> {
        let Self { subject, issuer, extensions } = self;
        if !subject.matches(&claims.subject) {
            return Err(format!("the signer is {:?}, expected {subject}", claims.subject));
        }
        match &claims.issuer {
            Some(found) if issuer.matches(found) => {}
            Some(found) => return Err(format!("the identity was vouched for by {found:?}, expected {issuer}")),
            None => {
                return Err(format!("the certificate does not say who vouched for the identity, expected {issuer}"));
            }
        }
        for (extension, expected) in extensions {
            match claims.extension(*extension) {
                Some(found) if expected.matches(found) => {}
                Some(found) => return Err(format!("{extension} is {found:?}, expected {expected}")),
                None => return Err(format!("the certificate does not say {extension}, expected {expected}")),
            }
        }
        Ok(())
    }
}

/// For people.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, issuer, extensions } = self;
        write!(f, "{subject}, by {issuer}")?;
        extensions.iter().try_for_each(|(extension, expected)| write!(f, ", {extension} {expected}"))
    }
}

/// A signer under an operator's own authority.
#[derive(Clone, Debug)]
pub enum ChainIdentity {
    /// One of the certificate's alternative names.
    AlternativeName(Matcher),
    /// Attributes that the certificate's subject must all have.
    Subject(Vec<(AttributeType, String)>),
}

impl ChainIdentity {
    /// A subject as RFC 4514 writes it.
    ///
    /// # Errors
    /// Not of that form, or an attribute type twice.
    pub fn subject(text: &str) -> Result<Self, BadName> {
        name::parse(text).map(Self::Subject)
    }

    /// The name by which a certificate is this signer; nothing where it is another.
    #[must_use]
    pub fn name_of(&self, certificate: &Certificate, names: &[AlternativeName]) -> Option<String> {
        match self {
            Self::AlternativeName(expected) => {
                names.iter().filter_map(text).find(|found| expected.matches(found)).cloned()
            }
            Self::Subject(expected) => {
                let subject = certificate.subject();
                let found = subject.attributes();
                // Two values of one type: two readers need not take the same one.
                let has = |(kind, text): &(AttributeType, String)| {
                    let mut of_kind = found.iter().filter(|(found, _)| found == kind);
                    of_kind.next().is_some_and(|(_, value)| *value == Value::Text(text.clone()))
                        && of_kind.next().is_none()
                };
                (!expected.is_empty() && expected.iter().all(has)).then(|| subject.to_string())
            }
        }
    }
}

/// Who a certificate of an own authority is for, by whichever of its names it was taken: all alternative names that can be
/// read, or else its subject. So two verifiers that ask for different names of one person count one.
pub(super) fn whole_name(certificate: &Certificate, names: &[AlternativeName]) -> String {
    let names: BTreeSet<&str> = names.iter().filter_map(text).map(String::as_str).collect();
    if names.is_empty() {
        return certificate.subject().to_string();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ChainIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlternativeName(expected) => expected.fmt(f),
            Self::Subject(expected) => {
                let attributes: Vec<String> = expected.iter().map(|(kind, value)| format!("{kind}={value}")).collect();
                write!(f, "{:?}", attributes.join(","))
            }
        }
    }
}

/// The text of a name, if it is one that identities are written as.
pub(super) fn text(name: &AlternativeName) -> Option<&String> {
    match name {
        AlternativeName::Email(text) | AlternativeName::Uri(text) | AlternativeName::Dns(text) => Some(text),
        AlternativeName::Other { kind, value } => (*kind == USER_NAME).then_some(value),
        AlternativeName::Unread(_) => None,
    }
}

/// What a value must be.
#[derive(Clone, Debug)]
pub struct Matcher(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Exact(String),
    Pattern { written: String, whole: Box<Regex> },
}

/// Why text says nothing of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMatcher {
    /// Nothing.
    #[error("it is empty: it would name nobody")]
    Empty,
    /// More than [`limits::PATTERN_BYTES`].
    #[error("it has {0} bytes, the limit is {limit}", limit = limits::PATTERN_BYTES)]
    TooLong(usize),
    /// No regular expression, or one that is too large.
    #[error("it is no regular expression that is taken: {0}")]
    Syntax(String),
    /// It says nothing.
    #[error("every text matches it: write what the value must be")]
    Everything,
}

impl Matcher {
    /// This text and no other.
    ///
    /// # Errors
    /// Empty, or too long.
    pub fn exact(text: &str) -> Result<Self, BadMatcher> {
        check_length(text)?;
        Ok(Self(Kind::Exact(text.to_owned())))
    }

    /// Whatever a regular expression matches as a whole, from its first character to its last.
    ///
    /// # Errors
    /// See [`BadMatcher`].
    pub fn pattern(text: &str) -> Result<Self, BadMatcher> {
        check_length(text)?;
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(limits::PATTERN_COMPILED_BYTES)
                .dfa_size_limit(limits::PATTERN_COMPILED_BYTES)
                .nest_limit(limits::PATTERN_DEPTH)
                .build()
                .map_err(|error| BadMatcher::Syntax(last_line(&error.to_string())))
        };
        // Alone first: parentheses that do not fit must not close the group around it.
        build(text)?;
        let whole = build(&format!(r"\A(?:{text})\z"))?;
        if PROBES.iter().any(|probe| whole.is_match(probe)) {
            return Err(BadMatcher::Everything);
        }
        Ok(Self(Kind::Pattern { written: text.to_owned(), whole: Box::new(whole) }))
    }

    /// Whether a value is as it must be.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match &self.0 {
            Kind::Exact(text) => text == value,
            Kind::Pattern { whole, .. } => whole.is_match(value),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => write!(f, "{text:?}"),
            Kind::Pattern { written, .. } => write!(f, "one that matches {written:?}"),
        }
    }
}

fn check_length(text: &str) -> Result<(), BadMatcher> {
    match text.len() {
        0 => Err(BadMatcher::Empty),
        length if length > limits::PATTERN_BYTES => Err(BadMatcher::TooLong(length)),
        _ => Ok(()),
    }
}

/// What is wrong with a pattern: the lines before quote it.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Texts that are nobody's name: what matches one of them matches whatever it is given.
const PROBES: [&str; 3] = ["\u{1f}\u{bf} ~", "\u{bf}", "\u{7f}\u{bf}\u{bf}\u{bf} \u{bf}\u{bf} ~~ \u{bf}\u{7f}\u{bf}"];

/// What Fulcio says of a signer beside its name and issuer, by the names that cosign and sigstore-go give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extension(usize);

impl Extension {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..EXTENSIONS.len()).map(Self)
    }

    /// The one of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        EXTENSIONS.iter().position(|(_, known)| *known == name).map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        EXTENSIONS.get(self.0).map_or("", |(_, name)| name)
    }

    /// Its object identifier, and whether its content is text as it is: the first ones are older than the rule that it is
    /// a UTF8String.
    pub(super) fn oid(self) -> Option<(ObjectIdentifier, bool)> {
        let (arc, _) = EXTENSIONS.get(self.0)?;
        Some((FULCIO.push_arc(*arc).ok()?, *arc < FIRST_IN_DER))
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Fulcio's extensions (Fulcio, "OID Info"): the last arc of each.
const EXTENSIONS: [(u32, &str); 19] = [
    (2, "githubWorkflowTrigger"),
    (3, "githubWorkflowSHA"),
    (4, "githubWorkflowName"),
    (5, "githubWorkflowRepository"),
    (6, "githubWorkflowRef"),
    (9, "buildSignerURI"),
    (10, "buildSignerDigest"),
    (11, "runnerEnvironment"),
    (12, "sourceRepositoryURI"),
    (13, "sourceRepositoryDigest"),
    (14, "sourceRepositoryRef"),
    (15, "sourceRepositoryIdentifier"),
    (16, "sourceRepositoryOwnerURI"),
    (17, "sourceRepositoryOwnerIdentifier"),
    (18, "buildConfigURI"),
    (19, "buildConfigDigest"),
    (20, "buildTrigger"),
    (21, "runInvocationURI"),
    (22, "sourceRepositoryVisibilityAtSigning"),
];

/// From here on, contents are UTF8Strings in DER.
const FIRST_IN_DER: u32 = 8;

/// Above all of Fulcio's extensions.
pub(super) const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");

/// A user name as a subjectAltName of type otherName (Fulcio, "OID Info", 1.3.6.1.4.1.57264.1.7).
pub(super) const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            subject: "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1".into(),
            issuer: Some("https://token.actions.githubusercontent.com".into()),
            extensions: vec![(Extension::by_name("githubWorkflowTrigger").unwrap(), "push".into())],
        }
    }

    fn exact(text: &str) -> Matcher {
        Matcher::exact(text).unwrap()
    }

    fn pattern(text: &str) -> Matcher {
        Matcher::pattern(text).unwrap()
    }

    fn issuer() -> Matcher {
        exact("https://token.actions.githubusercontent.com")
    }

    #[test]
    fn a_signer_is_named_by_whole_values_and_by_patterns_over_the_whole_value() {
        let subject = claims().subject;
        for (taken, matcher) in [
            (true, exact(&subject)),
            (true, pattern(r"https://github\.com/acme/[^/]+/\.github/workflows/release\.yml@refs/tags/v\d+")),
            (true, pattern(r"^https://github\.com/acme/.*$")),
            (true, pattern("nobody|https://github.com/acme/.*")),
            (false, exact("https://github.com/acme/web")),
            (false, exact(&format!("{subject}1"))),
            (false, exact(&subject.to_uppercase())),
            (false, pattern("https://github.com/acme")),
            (false, pattern("github.com/acme/web/.github/workflows/release.yml@refs/tags/v1")),
            (false, pattern("release|https://github.com/acme/web")),
            (false, pattern("(?i)NOBODY|https://github.com")),
        ] {
            let found = Identity::new(matcher.clone(), issuer()).check(&claims());
            assert_eq!(found.is_ok(), taken, "{matcher}: {found:?}");
        }
        let multiline = claims().subject + "\nhttps://github.com/acme/evil";
        let found = Identity::new(pattern("(?m)^https://github.com/acme/evil$"), issuer())
            .check(&Claims { subject: multiline, ..claims() });
        assert!(found.is_err(), "flags cannot make one line count as the whole");
    }

    #[test]
    fn who_vouches_and_what_more_is_asked_must_hold_too() {
        let trigger = Extension::by_name("githubWorkflowTrigger").unwrap();
        let reference = Extension::by_name("githubWorkflowRef").unwrap();
        let of = |issuer: Matcher| Identity::new(exact(&claims().subject), issuer);
        assert_eq!(of(issuer()).and(trigger, pattern("push|schedule")).check(&claims()), Ok(()));
        for (identity, expected) in [
            (
                of(exact("https://accounts.example.com")),
                "vouched for by \"https://token.actions.githubusercontent.com\"",
            ),
            (of(exact("https://token.actions.githubusercontent.com/acme")), "vouched for by"),
            (
                of(issuer()).and(trigger, exact("pull_request")),
                "githubWorkflowTrigger is \"push\", expected \"pull_request\"",
            ),
            (of(issuer()).and(reference, exact("refs/heads/main")), "does not say githubWorkflowRef"),
        ] {
            let found = identity.check(&claims()).unwrap_err();
            assert!(found.contains(expected), "{expected}: {found}");
        }
        let found = of(issuer()).check(&Claims { issuer: None, ..claims() }).unwrap_err();
        assert!(found.contains("does not say who vouched"), "{found}");
    }

    #[test]
    fn a_subject_that_says_something_twice_is_refused() {
        assert!(ChainIdentity::subject("O=acme,OU=build").is_ok());
        for text in ["O=acme,OU=build,OU=test", "OU=build,OU=build"] {
            assert_eq!(ChainIdentity::subject(text).unwrap_err().to_string(), "OU is given twice", "{text}");
        }
    }

    #[test]
    fn a_pattern_that_everything_matches_is_refused() {
        for text in [
            ".*",
            ".+",
            "^.*$",
            "(.*)",
            ".*|x",
            "x|.*",
            "[\\s\\S]*",
            "(?s).*",
            "(?:.|\n)+",
            ".{1,}",
            "[^\n]+",
            "x?.*",
            ".*.+.*",
            "\\P{Lu}*",
            "[^a]*",
        ] {
            assert_eq!(Matcher::pattern(text).err(), Some(BadMatcher::Everything), "{text}");
        }
        for text in ["https://.*", ".*@example\\.com", "\\w+", "[a-z]+@[a-z.]+"] {
            assert!(Matcher::pattern(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_says_why() {
        for (text, expected) in [
            ("", "it is empty"),
            ("a(b", "unclosed group"),
            ("a)|(?:b", "unopened group"),
            ("(?<=a)b", "look-around"),
            ("(a)\\1", "backreferences"),
            (r"\w{500}{500}", "size limit"),
        ] {
            let found = Matcher::pattern(text).unwrap_err().to_string();
            assert!(found.contains(expected) && !found.contains('\n'), "{text}: {found}");
        }
        assert!(Matcher::exact("").is_err());
        assert!(Matcher::pattern(&format!("{}x{}", "(".repeat(60), ")".repeat(60))).is_err());
    }

    #[test]
    fn length_at_the_limit_and_one_past_it() {
        for of in [Matcher::exact, Matcher::pattern] {
            assert!(of(&"a".repeat(limits::PATTERN_BYTES)).is_ok());
            let long = of(&"a".repeat(limits::PATTERN_BYTES + 1)).err();
            assert_eq!(long, Some(BadMatcher::TooLong(limits::PATTERN_BYTES + 1)));
        }
    }

    #[test]
    fn extensions_are_known_by_the_names_of_the_common_tools() {
        let names: Vec<_> = Extension::all().map(Extension::name).collect();
        assert_eq!(
            (names.len(), names[0], names[18]),
            (19, "githubWorkflowTrigger", "sourceRepositoryVisibilityAtSigning")
        );
        let of = |name| Extension::by_name(name).unwrap().oid().map(|(oid, is_raw)| (oid.to_string(), is_raw)).unwrap();
        assert_eq!(of("githubWorkflowRef"), ("1.3.6.1.4.1.57264.1.6".into(), true));
        assert_eq!(of("sourceRepositoryURI"), ("1.3.6.1.4.1.57264.1.12".into(), false));
        assert_eq!(Extension::by_name("issuer"), None, "the issuer has a place of its own");
    }
}
