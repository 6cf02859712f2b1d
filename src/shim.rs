//! The shim: containerd's image-verifier contract in, one question to the daemon, one line and an exit code out.
//!
//! containerd runs it for every pull and blocks the pull unless it exits 0. It can decide nothing itself: it
//! allows exactly when the daemon says so. Whatever goes wrong becomes exit 1 with a reason, before containerd's
//! own time limit, because containerd drops what a killed verifier said.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::artifact::Descriptor;
use crate::client::{self, TIMEOUT_VARIABLE, Unanswered};
use crate::limits;
use crate::verdict::{Token, reason_line};
use crate::wire::{self, v1};

/// The one stdin format of the contract.
const DESCRIPTOR_TYPE: &str = "application/vnd.oci.descriptor.v1+json";

/// What the shim says: a token, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    token: Token,
    cause: String,
    id: String,
}

impl Answer {
    /// An answer of the shim's own, which can only refuse.
    fn refusal(token: Token, cause: impl Into<String>) -> Self {
        debug_assert!(!token.allows(), "the shim decides nothing");
        Self { token, cause: cause.into(), id: String::new() }
    }

    fn misconfigured(cause: impl Into<String>) -> Self {
        Self::refusal(Token::Misconfigured, cause)
    }

    fn unavailable(cause: impl Into<String>) -> Self {
        Self::refusal(Token::Unavailable, cause)
    }

    /// The line for containerd. In audit it says the same, and that it blocks nothing.
    #[must_use]
    pub fn line(&self, audit: bool) -> String {
        if audit && self.token != Token::Audit {
            let cause = format!("not enforcing; the answer was: {} {}", self.token, self.cause);
            reason_line(Token::Audit, &cause, &self.id)
        } else {
            reason_line(self.token, &self.cause, &self.id)
        }
    }

    /// Whether containerd may go on.
    #[must_use]
    pub fn allows(&self, audit: bool) -> bool {
        audit || self.token.allows()
    }
}

/// Answers containerd.
#[must_use]
pub fn main() -> ExitCode {
    let start = Instant::now();
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let audit = called.to_string_lossy().ends_with("-audit");
    let answer = ask(arguments, start, audit).unwrap_or_else(|refusal| refusal);
    report(&answer, audit)
}

/// Prints the line and tells the exit code. Called by an `-audit` name it reports the same and never blocks.
fn report(answer: &Answer, audit: bool) -> ExitCode {
    // containerd may have closed stdout; the exit code says it all the same.
    let _ = writeln!(io::stdout(), "{}", answer.line(audit));
    if answer.allows(audit) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The whole of it: what is asked, until when, whom, and what they say.
fn ask(arguments: impl Iterator<Item = OsString>, start: Instant, audit: bool) -> Result<Answer, Answer> {
    let deadline = start.checked_add(timeout()?).unwrap_or(start);
    let question = Question::parse(arguments)?;
    let descriptor = question.check(&read_stdin(deadline)?)?;
    let socket = std::env::var_os(client::SOCKET_VARIABLE).map_or_else(|| PathBuf::from(client::SOCKET), PathBuf::from);
    let request = v1::VerifyRequest { name: question.name, descriptor: Some(descriptor.into()), audit };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Answer::unavailable(format!("the shim has no resources to ask: {error}")))?;
    let reply = runtime.block_on(verify(request, socket, deadline.into()));
    reply
        .map_err(|unanswered| Answer::refusal(unanswered.token(), unanswered.to_string()))
        .and_then(|reply| understand(reply.verdict))
}

async fn verify(
    request: v1::VerifyRequest,
    socket: PathBuf,
    deadline: tokio::time::Instant,
) -> Result<v1::VerifyReply, Unanswered> {
    client::call(&socket, deadline, async |channel| {
        v1::image_verifier_client::ImageVerifierClient::new(channel)
            .verify(client::request(request.clone(), deadline))
            .await
    })
    .await
}

/// The daemon's verdict as the shim's own answer.
///
/// # Errors
/// A refusal: there is none, or its token is not known.
pub fn understand(verdict: Option<v1::Verdict>) -> Result<Answer, Answer> {
    let verdict = verdict.unwrap_or_default();
    let Some(token) = wire::token(&verdict) else {
        return Err(Answer::misconfigured(
            "ratifyd gives an answer that this shim does not know: install one version of both",
        ));
    };
    Ok(Answer { token, cause: verdict.cause, id: verdict.id })
}

fn timeout() -> Result<Duration, Answer> {
    let Some(text) = std::env::var_os(TIMEOUT_VARIABLE) else { return Ok(limits::SHIM_TIMEOUT) };
    let text = text.to_string_lossy();
    humantime::parse_duration(&text).map_err(|error| {
        Answer::misconfigured(format!("{TIMEOUT_VARIABLE} is {text:?}, no duration such as \"8s\": {error}"))
    })
}

/// What containerd asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Question {
    name: String,
    digest: String,
    media_type: String,
}

impl Question {
    /// Reads containerd's arguments: Go's flags, so `-name X`, `--name X` and `-name=X` are one. Arguments that
    /// this version does not know are passed over, as containerd may come to give more.
    ///
    /// # Errors
    /// A refusal that names the argument which is missing, given twice or of another value than it may have.
    pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Answer> {
        let mut question = Self::default();
        while let Some(argument) = arguments.next() {
            let Some(argument) = argument.to_str() else { continue };
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
            let (flag, given) =
                flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value.to_owned())));
            let value = match flag {
                "name" => &mut question.name,
                "digest" => &mut question.digest,
                "stdin-media-type" => &mut question.media_type,
                _ => continue,
            };
            let text = given.or_else(|| arguments.next().and_then(|next| next.into_string().ok()));
            let text = text.filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| Answer::misconfigured(format!("argument -{flag} has no value")))?;
            if !value.is_empty() {
                return Err(Answer::misconfigured(format!("argument -{flag} is given twice")));
            }
            *value = text;
        }
        for (flag, value) in
            [("name", &question.name), ("digest", &question.digest), ("stdin-media-type", &question.media_type)]
        {
            if value.is_empty() {
                return Err(Answer::misconfigured(format!(
                    "argument -{flag} is missing; containerd runs this program, operators run ratifyctl"
                )));
            }
        }
        if question.media_type != DESCRIPTOR_TYPE {
            return Err(Answer::misconfigured(format!(
                "stdin has media type {:?}, this shim knows {DESCRIPTOR_TYPE}: upgrade ratifyd",
                question.media_type
            )));
        }
        Ok(question)
    }

    /// The descriptor on stdin, which must be of the digest in the arguments.
    ///
    /// # Errors
    /// A refusal: stdin has no descriptor, or one of another digest.
    pub fn check(&self, stdin: &[u8]) -> Result<Descriptor, Answer> {
        let descriptor = Descriptor::parse(stdin)
            .map_err(|error| Answer::misconfigured(format!("stdin is not a descriptor: {error}")))?;
        if descriptor.digest.as_str() == self.digest {
            Ok(descriptor)
        } else {
            Err(Answer::misconfigured(format!(
                "argument -digest is {}, but the descriptor on stdin has {}",
                self.digest, descriptor.digest
            )))
        }
    }
}

/// Reads stdin to its end, within the bound and by the deadline.
fn read_stdin(deadline: Instant) -> Result<Vec<u8>, Answer> {
    let failed = |error: io::Error| Answer::misconfigured(format!("stdin cannot be read: {error}"));
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))
            .map_err(|_| Answer::misconfigured(format!("{TIMEOUT_VARIABLE} is too long")))?;
        match poll(&mut [PollFd::new(&stdin.as_fd(), PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(Answer::unavailable("containerd has not written the descriptor to stdin in time")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(failed(error.into())),
        }
        let read = rustix::io::read(stdin.as_fd(), &mut chunk).map_err(|error| failed(error.into()))?;
        let Some(piece) = chunk.get(..read).filter(|piece| !piece.is_empty()) else { return Ok(bytes) };
        bytes.extend_from_slice(piece);
        if bytes.len() > limits::STDIN_BYTES {
            return Err(Answer::misconfigured(format!("stdin has more than {} bytes", limits::STDIN_BYTES)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn parse(arguments: &[&str]) -> Result<Question, String> {
        Question::parse(arguments.iter().map(OsString::from))
            .map_err(|answer| format!("{} {}", answer.token, answer.cause))
    }

    fn question() -> Question {
        parse(&["-name", "r.io/a:1", "-digest", DIGEST, "-stdin-media-type", DESCRIPTOR_TYPE]).unwrap()
    }

    #[test]
    fn single_and_double_dashes_and_equals_signs_are_one() {
        let double = parse(&["--name=r.io/a:1", "--digest", DIGEST, &format!("-stdin-media-type={DESCRIPTOR_TYPE}")]);
        assert_eq!(double.unwrap(), question());
    }

    #[test]
    fn arguments_that_containerd_may_add_are_passed_over() {
        let more = parse(&[
            "-operation",
            "pull",
            "-name",
            "r.io/a:1",
            "-verbose",
            "-digest",
            DIGEST,
            "--x=y",
            "-stdin-media-type",
            DESCRIPTOR_TYPE,
            "end",
        ]);
        assert_eq!(more.unwrap(), question());
    }

    #[test]
    fn what_is_missing_or_given_twice_is_refused_by_name() {
        assert!(parse(&[]).unwrap_err().contains("-name is missing"));
        assert!(parse(&["-name", "a"]).unwrap_err().contains("-digest is missing"));
        assert!(parse(&["-name"]).unwrap_err().contains("-name has no value"));
        assert!(parse(&["-name", "a", "-name", "b"]).unwrap_err().contains("-name is given twice"));
        assert!(
            parse(&["-name", "a", "-digest", DIGEST, "-stdin-media-type", "text/plain"])
                .unwrap_err()
                .starts_with("MISCONFIGURED stdin has media type")
        );
    }

    #[test]
    fn the_descriptor_must_be_of_the_digest_in_the_arguments() {
        let descriptor = |digest: &str| format!(r#"{{"mediaType":"x","digest":"{digest}","size":5,"platform":{{}}}}"#);
        assert_eq!(question().check(descriptor(DIGEST).as_bytes()).map(|d| d.size).map_err(|a| a.cause), Ok(5));
        let other = descriptor(&DIGEST.replace('4', "5"));
        assert!(
            question()
                .check(other.as_bytes())
                .is_err_and(|answer| answer.cause.contains("but the descriptor on stdin has"))
        );
        for garbage in [
            "",
            "{}",
            "garbage",
            "[]",
            r#"{"mediaType":"x","digest":"x","size":5}"#,
            r#"{"mediaType":"x","digest":"x","size":-1}"#,
        ] {
            assert!(question().check(garbage.as_bytes()).is_err_and(|answer| !answer.token.allows()), "{garbage}");
        }
    }

    #[test]
    fn an_answer_without_a_known_token_is_refused() {
        let verdict = |token: i32| Some(v1::Verdict { token, cause: "c".into(), id: "i".into() });
        assert!(understand(verdict(1)).is_ok_and(|answer| answer.token == Token::Allowed));
        for unknown in [None, verdict(0), verdict(7), verdict(-1)] {
            assert!(understand(unknown).is_err_and(|answer| answer.token == Token::Misconfigured));
        }
    }
}
