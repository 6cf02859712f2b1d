//! What containerd hands to the shim, and what is spoken on the daemon's socket: nothing but a token that says so
//! allows, and what the shim prints is one line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use prost::Message as _;
use ratify::artifact::Descriptor;
use ratify::reference::Reference;
use ratify::shim::{Answer, Question, understand};
use ratify::wire::{grpc_timeout, question, v1};
use ratify::{config, limits};

use super::assert_one_line;

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The shim's arguments, each ended by a NUL: one that is not known changes nothing.
pub fn arguments(data: &[u8]) -> bool {
    let arguments = || data.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec()));
    let more = [OsString::from("-operation=pull"), OsString::from("verbose")].into_iter().chain(arguments());
    let question = Question::parse(arguments());
    assert_eq!(Question::parse(more), question);
    match question {
        Ok(question) => {
            assert_refuses(&question.check(b"").unwrap_err());
            true
        }
        Err(answer) => {
            assert_refuses(&answer);
            false
        }
    }
}

/// The descriptor on the shim's stdin: taken with its own digest alone.
pub fn descriptor(data: &[u8]) -> bool {
    let asked = asks(DIGEST).check(data).inspect_err(assert_refuses);
    let Ok(descriptor) = Descriptor::parse(data) else {
        assert!(asked.is_err());
        return false;
    };
    let own = descriptor.digest.as_str();
    assert_eq!(asked.is_ok(), own == DIGEST);
    assert_eq!(asks(own).check(data).as_ref(), Ok(&descriptor));
    assert_eq!(Descriptor::parse(&serde_json::to_vec(&descriptor).unwrap()).unwrap(), descriptor);
    true
}

fn asks(digest: &str) -> Question {
    let media_type = "application/vnd.oci.descriptor.v1+json";
    let arguments = ["-name", "registry.example/a:1", "-digest", digest, "-stdin-media-type", media_type];
    Question::parse(arguments.into_iter().map(OsString::from)).unwrap()
}

fn assert_refuses(answer: &Answer) {
    assert!(!answer.allows(false));
    let (line, audit) = (answer.line(false), answer.line(true));
    for (line, token) in [(&line, "MISCONFIGURED "), (&audit, "AUDIT ")] {
        assert!(line.starts_with(token) && line.len() < limits::REASON_BYTES, "{line}");
        assert_one_line(line);
    }
}

/// A message of the socket, as question to the daemon and as answer to the shim.
pub fn wire(data: &[u8]) -> bool {
    let asked = v1::VerifyRequest::decode(data).is_ok_and(is_question);
    let answered = v1::VerifyReply::decode(data).is_ok_and(is_answer);
    asked || answered
}

fn is_question(request: v1::VerifyRequest) -> bool {
    assert_eq!(v1::VerifyRequest::decode(request.encode_to_vec().as_slice()).as_ref(), Ok(&request));
    match question(request.clone()) {
        Ok((name, descriptor)) => {
            assert!(descriptor.media_type.len() <= limits::MEDIA_TYPE_BYTES);
            let _ = Reference::with_host(&name);
            assert_eq!(v1::VerifyRequest { name, descriptor: Some(descriptor.into()), audit: request.audit }, request);
            true
        }
        Err(cause) => {
            assert_one_line(&cause);
            false
        }
    }
}

fn is_answer(reply: v1::VerifyReply) -> bool {
    let token = reply.verdict.as_ref().map(|verdict| verdict.token).unwrap_or_default();
    match understand(reply.verdict) {
        Ok(answer) => {
            assert_eq!(answer.allows(false), (1..=3).contains(&token));
            let line = answer.line(false);
            assert!(line.len() < limits::REASON_BYTES, "{} bytes", line.len());
            assert_one_line(&line);
            true
        }
        Err(answer) => {
            assert_refuses(&answer);
            false
        }
    }
}

/// A duration: as a call's deadline, and as one of the configuration's, which keeps within its bound.
pub fn duration(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let deadline = grpc_timeout(&text);
    assert!(deadline.is_none_or(|deadline| text.len() <= 9 && deadline <= Duration::from_secs(99_999_999 * 3600)));
    let file = |text: &str| {
        let config = serde_json::json!({
            "executors": [{ "scopes": ["registry.example"], "mode": "deny" }],
            "remember": { "allow": text },
        });
        config::parse("config.json", &config.to_string(), &|_| None)
    };
    let configured = file(&text);
    if let Ok(config) = &configured {
        assert!(config.remember.allow <= limits::REMEMBER_ALLOW_MAX);
        let shown = config::to_json(config).unwrap();
        assert_eq!(config::parse("config.json", &shown, &|_| None).unwrap().remember, config.remember);
    }
    deadline.is_some() || configured.is_ok()
}
