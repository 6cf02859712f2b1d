//! The answer: allow or deny, its token, its cause, and the one line that containerd passes on.
//!
//! An allow is made in exactly one function, [`Verdict::reach`]; nothing converts into one.

use std::fmt;

use serde::Serialize;

use crate::limits;

/// The first word of the reason line. Scripts and alerts rely on it: containerd and the kubelet pass on
/// nothing but this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Token {
    /// Checked, and satisfied.
    Allowed,
    /// Allowed because the mode is audit; would be refused.
    Audit,
    /// Allowed without verification, because the configuration says so by name.
    Exempt,
    /// Checked, and not satisfied.
    Denied,
    /// An operator must act.
    Misconfigured,
    /// Could not be checked: transient, try again.
    Unavailable,
}

impl Token {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Audit, Self::Exempt, Self::Denied, Self::Misconfigured, Self::Unavailable];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::Audit => "AUDIT",
            Self::Exempt => "EXEMPT",
            Self::Denied => "DENIED",
            Self::Misconfigured => "MISCONFIGURED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// Whether an image with this answer may be pulled.
    #[must_use]
    pub fn allows(self) -> bool {
        match self {
            Self::Allowed | Self::Audit | Self::Exempt => true,
            Self::Denied | Self::Misconfigured | Self::Unavailable => false,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of cause stands behind an answer, for counting: few words, none of them another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The policy is satisfied.
    Satisfied,
    /// The policy is not satisfied.
    Policy,
    /// The scope's mode asks nobody.
    Mode,
    /// The digest is pinned.
    Pinned,
    /// A trust policy skips verification.
    Skipped,
    /// No scope matches.
    Unmatched,
    /// The canary of `ratifyctl doctor`.
    Canary,
    /// The name is no image name, or asks for another digest than would be pulled.
    Name,
    /// Configuration or trust cannot serve.
    Configuration,
    /// The clock is certainly wrong.
    Clock,
    /// The time ran out.
    Time,
    /// The connection failed, or nothing came in time.
    Network,
    /// The registry asks to be asked less.
    Throttled,
    /// The registry wants credentials, or other ones.
    Refused,
    /// There is no such thing.
    NotFound,
    /// The registry answers that it cannot answer.
    Status,
    /// What came is not what was asked for, cannot be read or is larger than the bounds.
    Malformed,
    /// A check could not be made for another reason.
    Unchecked,
    /// A defect of ratifyd.
    Defect,
}

impl Class {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Policy => "policy",
            Self::Mode => "mode",
            Self::Pinned => "pinned",
            Self::Skipped => "skipped",
            Self::Unmatched => "unmatched",
            Self::Canary => "canary",
            Self::Name => "name",
            Self::Configuration => "configuration",
            Self::Clock => "clock",
            Self::Time => "time",
            Self::Network => "network",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Status => "status",
            Self::Malformed => "malformed",
            Self::Unchecked => "unchecked",
            Self::Defect => "defect",
        }
    }
}

/// What the rules came to, before the mode has its say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Conclusion {
    /// The policy is satisfied: by what.
    Satisfied(String),
    /// The configuration exempts the image from verification: how.
    Exempt(String),
    /// Neither.
    Refused(Deny),
}

impl Conclusion {
    /// Checked, and not satisfied.
    pub fn denied(cause: impl Into<String>) -> Self {
        Self::Refused(Deny { token: Token::Denied, cause: brief(&cause.into()) })
    }

    /// An operator must act.
    pub fn misconfigured(cause: impl Into<String>) -> Self {
        Self::Refused(Deny { token: Token::Misconfigured, cause: brief(&cause.into()) })
    }

    /// Could not be checked.
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::Refused(Deny { token: Token::Unavailable, cause: brief(&cause.into()) })
    }
}

/// Allow or deny.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The image may be pulled.
    Allow(Allow),
    /// It may not.
    Deny(Deny),
}

/// Why an image may be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    token: Token,
    cause: String,
}

/// Why an image may not be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    token: Token,
    cause: String,
}

impl Deny {
    /// Why, in words.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Whether it rests on a verification, and so may be remembered: a fault or a mistake of the configuration does not.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        match self.token {
            Token::Denied => true,
            Token::Misconfigured | Token::Unavailable | Token::Allowed | Token::Audit | Token::Exempt => false,
        }
    }
}

impl Verdict {
    /// Turns a conclusion into a verdict. The only place where an allow is made.
    pub fn reach(conclusion: Conclusion, audit: bool) -> Self {
        match conclusion {
            Conclusion::Satisfied(cause) => Self::Allow(Allow { token: Token::Allowed, cause: brief(&cause) }),
            Conclusion::Exempt(cause) => Self::Allow(Allow { token: Token::Exempt, cause: brief(&cause) }),
            Conclusion::Refused(deny) if audit => Self::Allow(Allow {
                token: Token::Audit,
                cause: brief(&format!("would be refused: {} {}", deny.token, deny.cause)),
            }),
            Conclusion::Refused(deny) => Self::Deny(deny),
        }
    }

    /// Whether the image may be pulled.
    #[must_use]
    pub fn allows(&self) -> bool {
        match self {
            Self::Allow(_) => true,
            Self::Deny(_) => false,
        }
    }

    /// The first word of its line.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Self::Allow(allow) => allow.token,
            Self::Deny(deny) => deny.token,
        }
    }

    /// The cause, in words.
    #[must_use]
    pub fn cause(&self) -> &str {
        match self {
            Self::Allow(allow) => &allow.cause,
            Self::Deny(deny) => &deny.cause,
        }
    }
}

/// The reason line: token, cause, and the verdict's id where there is one. One line of printable characters,
/// at most [`limits::REASON_BYTES`] with its line feed; a long cause is cut, an id of up to [`limits::ID_BYTES`] never is.
#[must_use]
pub fn reason_line(token: Token, cause: &str, id: &str) -> String {
    let tail = if id.is_empty() { String::new() } else { format!(" [{}]", printable(&cut(id, limits::ID_BYTES))) };
    let line = format!("{token} {}", printable(cause).trim());
    cut(&line, limits::REASON_BYTES.saturating_sub(tail.len() + 1)) + &tail
}

/// Text cut to [`limits::CAUSE_BYTES`].
#[must_use]
pub fn brief(text: &str) -> String {
    cut(text, limits::CAUSE_BYTES)
}

/// Text of at most `bytes` bytes; three dots stand for what is cut away.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub("...".len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Text that cannot move a terminal's cursor, start another line or turn its direction: control and
/// formatting characters become a space.
#[must_use]
pub fn printable(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect()
}

fn is_printable(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conclusions() -> [Conclusion; 5] {
        [
            Conclusion::Satisfied("a".into()),
            Conclusion::Exempt("b".into()),
            Conclusion::denied("c"),
            Conclusion::misconfigured("d"),
            Conclusion::unavailable("e"),
        ]
    }

    #[test]
    fn an_id_without_end_leaves_the_line_its_token_and_cause() {
        let line = reason_line(Token::Denied, "because", &"x".repeat(30_000));
        assert!(line.starts_with("DENIED because [xxx") && line.len() < 100, "{line}");
    }

    #[test]
    fn only_satisfied_and_exempt_allow_when_enforcing() {
        let tokens = conclusions().map(|conclusion| Verdict::reach(conclusion, false)).map(|v| (v.token(), v.allows()));
        assert_eq!(
            tokens,
            [
                (Token::Allowed, true),
                (Token::Exempt, true),
                (Token::Denied, false),
                (Token::Misconfigured, false),
                (Token::Unavailable, false)
            ]
        );
    }

    #[test]
    fn audit_allows_and_says_what_would_have_happened() {
        let verdicts = conclusions().map(|conclusion| Verdict::reach(conclusion, true));
        assert!(verdicts.iter().all(Verdict::allows));
        assert_eq!(
            verdicts.each_ref().map(Verdict::token),
            [Token::Allowed, Token::Exempt, Token::Audit, Token::Audit, Token::Audit]
        );
        assert_eq!(verdicts[2].cause(), "would be refused: DENIED c");
    }

    #[test]
    fn the_line_is_one_line_of_printable_characters() {
        let line = reason_line(Token::Denied, "a\nb\u{1b}[31mred\u{202e}\u{7f}\u{9b}\t\u{200b}é", "id");
        assert_eq!(line, "DENIED a b [31mred     é [id]");
    }

    #[test]
    fn a_long_cause_is_cut_and_the_id_is_kept() {
        let fits = limits::REASON_BYTES - "DENIED  [7f3a]\n".len();
        let line = reason_line(Token::Denied, &"x".repeat(fits), "7f3a");
        assert_eq!((line.len() + 1, line.contains("...")), (limits::REASON_BYTES, false));
        for cause in ["x".repeat(fits + 1), "é".repeat(fits)] {
            let line = reason_line(Token::Denied, &cause, "7f3a");
            assert!(line.len() < limits::REASON_BYTES && line.ends_with("... [7f3a]"), "{line}");
        }
    }

    #[test]
    fn an_id_at_the_limit_is_kept_and_one_past_it_is_cut() {
        let line = |length: usize| reason_line(Token::Denied, &"x".repeat(2000), &"i".repeat(length));
        assert!(line(limits::ID_BYTES).ends_with(&format!(" [{}]", "i".repeat(limits::ID_BYTES))));
        for length in [limits::ID_BYTES + 1, 2000] {
            let line = line(length);
            assert!(line.ends_with("i...]") && line.len() < limits::REASON_BYTES, "{line}");
        }
    }

    #[test]
    fn a_cause_at_the_limit_is_kept_and_one_byte_more_is_cut() {
        let cause = |length: usize| {
            let verdict = Verdict::reach(Conclusion::denied("x".repeat(length)), false);
            (verdict.cause().len(), verdict.cause().ends_with("..."))
        };
        assert_eq!(cause(limits::CAUSE_BYTES), (limits::CAUSE_BYTES, false));
        assert_eq!(cause(limits::CAUSE_BYTES + 1), (limits::CAUSE_BYTES, true));
    }
}
