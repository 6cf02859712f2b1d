//! What goes over the runner's socket: a request of two frames (head, input) and one for each file, a reply of three (head, output, stderr). A
//! frame is its length in four bytes, the highest first, and so many bytes. Heads are JSON. Neither end trusts the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::json;
use crate::limits;
use crate::runner::{Program, Ran, Sandbox};
use crate::verdict::printable;

/// What goes before the input: which program, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// The executable, by its absolute path.
    pub path: PathBuf,
    /// Whether it may belong to whoever asks, and not to root alone.
    #[serde(default)]
    pub fetched: bool,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take, in milliseconds.
    pub milliseconds: u64,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What confines it; its files follow the input, each in a frame.
    #[serde(default)]
    pub sandbox: Option<Laid>,
    /// Most bytes that it may print.
    #[serde(default = "usual_output")]
    pub most_output: u64,
}

/// What is said of a sandbox before its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Laid {
    /// The paths of its files.
    pub files: Vec<String>,
    /// Whether the program may reach others.
    pub network: bool,
    /// Whether it is confined wholly or not run.
    pub strict: bool,
}

impl Head {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let head: Self = json::from_slice(bytes).map_err(|error| printable(&error.to_string()))?;
        if !head.path.is_absolute() {
            return Err("the program has no absolute path".to_owned());
        }
        if head.most_output > limits::PLUGIN_OUTPUT_MAX {
            return Err(format!("it may print {} bytes at most", limits::PLUGIN_OUTPUT_MAX));
        }
        if head.sandbox.as_ref().is_some_and(|sandbox| sandbox.files.len() > limits::SANDBOX_FILES) {
            return Err(format!("there are more than {} files for it", limits::SANDBOX_FILES));
        }
        Ok(head)
    }

    /// How long the program may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.milliseconds).min(limits::PLUGIN_TIMEOUT_MAX)
    }
}

/// What goes before output and stderr: how the program ended, or why it did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reply {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// How it ended, in words.
    pub ended: String,
    /// Why it was not run, or not to its end.
    pub refused: Option<String>,
}

impl Reply {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        json::from_slice(bytes).map_err(|error| printable(&error.to_string()))
    }
}

/// Sends a request.
pub(super) async fn request(
    to: &mut (impl AsyncWrite + Unpin),
    program: &Program,
    timeout: Duration,
) -> Result<(), String> {
    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let Program { path, fetched, arguments, input, environment, sandbox, most_output } = program.clone();
    let laid = sandbox.as_ref().map(|Sandbox { files, network, strict }| Laid {
        files: files.iter().map(|(path, _)| path.clone()).collect(),
        network: *network,
        strict: *strict,
    });
    let head = Head { path, fetched, arguments, milliseconds, environment, sandbox: laid, most_output };
    let head = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
    write(to, &head, limits::RUNNER_HEAD_BYTES).await?;
    write(to, &input, limits::PLUGIN_INPUT_BYTES).await?;
    for (_, bytes) in sandbox.iter().flat_map(|sandbox| &sandbox.files) {
        write(to, bytes, limits::BLOB_BYTES).await?;
    }
    Ok(())
}

/// Takes a request.
pub(super) async fn requested(from: &mut (impl AsyncRead + Unpin)) -> Result<(Program, Duration), String> {
    let head = Head::parse(&read(from, limits::RUNNER_HEAD_BYTES).await?)?;
    let timeout = head.timeout();
    let input = read(from, limits::PLUGIN_INPUT_BYTES).await?;
    let Head { path, fetched, arguments, environment, sandbox, most_output, .. } = head;
    let sandbox = match sandbox {
        Some(laid) => Some(files(from, laid).await?),
        None => None,
    };
    Ok((Program { path, fetched, arguments, input, environment, sandbox, most_output }, timeout))
}

async fn files(from: &mut (impl AsyncRead + Unpin), laid: Laid) -> Result<Sandbox, String> {
    let (mut files, mut left) = (Vec::new(), limits::SANDBOX_BYTES);
    for path in laid.files {
        let bytes = read(from, left.min(limits::BLOB_BYTES)).await?;
        left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        files.push((path, Bytes::from(bytes)));
    }
    Ok(Sandbox { files, network: laid.network, strict: laid.strict })
}

/// Sends a reply.
pub(super) async fn reply(to: &mut (impl AsyncWrite + Unpin), ran: Result<Ran, String>) -> Result<(), String> {
    let (head, output, errors) = match ran {
        Ok(Ran { code, ended, output, errors }) => (Reply { code, ended, refused: None }, output, errors),
        Err(cause) => (Reply { code: None, ended: String::new(), refused: Some(cause) }, Vec::new(), Vec::new()),
    };
    let head = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
    write(to, &head, limits::RUNNER_HEAD_BYTES).await?;
    write(to, &output, limits::PLUGIN_OUTPUT_MAX).await?;
    write(to, &errors, limits::PLUGIN_ERROR_BYTES).await
}

/// Takes a reply: what came of the program, which may print so many bytes, or why nothing did.
pub(super) async fn replied(
    from: &mut (impl AsyncRead + Unpin),
    most_output: u64,
) -> Result<Result<Ran, String>, String> {
    let Reply { code, ended, refused } = Reply::parse(&read(from, limits::RUNNER_HEAD_BYTES).await?)?;
    let output = read(from, most_output.min(limits::PLUGIN_OUTPUT_MAX)).await?;
    let errors = read(from, limits::PLUGIN_ERROR_BYTES).await?;
    Ok(match refused {
        None => Ok(Ran { code, ended, output, errors }),
        Some(cause) => Err(cause),
    })
}

fn usual_output() -> u64 {
    limits::PLUGIN_OUTPUT_BYTES
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], limit: u64) -> Result<(), String> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if u64::from(length) > limit {
        return Err(format!("{length} bytes are more than the limit of {limit}"));
    }
    to.write_u32(length).await.map_err(|error| error.to_string())?;
    to.write_all(bytes).await.map_err(|error| error.to_string())?;
    to.flush().await.map_err(|error| error.to_string())
}

async fn read(from: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>, String> {
    let length = u64::from(from.read_u32().await.map_err(|error| error.to_string())?);
    if length > limit {
        return Err(format!("{length} bytes are more than the limit of {limit}"));
    }
    let mut bytes = Vec::new();
    // What is stated is not believed: it grows as bytes come.
    from.take(length).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read == length) {
        Ok(bytes)
    } else {
        Err(format!("it ended after {} of {length} bytes", bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(input: &[u8]) -> Program {
        Program {
            arguments: vec!["verify-signature".into()],
            ..Program::new("/opt/notation-x".into(), input.to_owned())
        }
    }

    async fn sent(program: &Program) -> Vec<u8> {
        let mut bytes = Vec::new();
        request(&mut bytes, program, Duration::from_secs(2)).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn requests_and_replies_arrive_as_they_were_sent() {
        let bytes = sent(&program(b"{}")).await;
        assert_eq!(requested(&mut bytes.as_slice()).await, Ok((program(b"{}"), Duration::from_secs(2))));
        for ran in [
            Ok(Ran { code: Some(1), ended: "exit code 1".into(), output: b"out\0".into(), errors: vec![0xff] }),
            Err("it is not there".to_owned()),
        ] {
            let mut bytes = Vec::new();
            reply(&mut bytes, ran.clone()).await.unwrap();
            assert_eq!(replied(&mut bytes.as_slice(), 4).await, Ok(ran));
        }
    }

    #[tokio::test]
    async fn what_a_plugin_is_confined_to_arrives_as_it_was_sent_within_its_limits() {
        let of = |files: usize, bytes: usize| {
            let file = |number: usize| (format!("blobs/{number}"), Bytes::from(vec![b'x'; bytes]));
            let sandbox = Sandbox { files: (0..files).map(file).collect(), network: true, strict: false };
            Program { environment: [("A".to_owned(), "b".to_owned())].into(), sandbox: Some(sandbox), ..program(b"") }
        };
        let whole = of(limits::SANDBOX_FILES, 3);
        assert_eq!(requested(&mut sent(&whole).await.as_slice()).await.unwrap().0, whole);
        let cause = requested(&mut sent(&of(limits::SANDBOX_FILES + 1, 0)).await.as_slice()).await.unwrap_err();
        assert!(cause.contains("more than 64 files"), "{cause}");
        let third = usize::try_from(limits::SANDBOX_BYTES / 2).unwrap();
        assert!(requested(&mut sent(&of(2, third)).await.as_slice()).await.is_ok());
        let mut more = of(2, third);
        more.sandbox.as_mut().unwrap().files.push(("more".to_owned(), Bytes::from_static(b"x")));
        assert!(requested(&mut sent(&more).await.as_slice()).await.unwrap_err().contains("more than the limit"));
    }

    #[tokio::test]
    async fn input_at_the_limit_is_sent_and_taken_and_one_byte_more_is_neither() {
        let most = usize::try_from(limits::PLUGIN_INPUT_BYTES).unwrap();
        let bytes = sent(&program(&vec![b'x'; most])).await;
        assert!(requested(&mut bytes.as_slice()).await.is_ok());
        let more = program(&vec![b'x'; most + 1]);
        assert!(request(&mut Vec::new(), &more, Duration::ZERO).await.unwrap_err().contains("more than the limit"));
        let stated = u32::try_from(most + 1).unwrap().to_be_bytes();
        let forged = [&sent(&program(b"")).await[..], &[]].concat();
        let forged = [&forged[..forged.len() - 4], &stated].concat();
        assert!(requested(&mut forged.as_slice()).await.unwrap_err().contains("more than the limit"));
    }

    #[tokio::test]
    async fn output_that_is_asked_for_is_taken_to_its_limit_and_one_byte_more_is_not() {
        let most = usize::try_from(limits::PLUGIN_OUTPUT_MAX).unwrap();
        let ran =
            |bytes: usize| Ran { code: Some(0), ended: String::new(), output: vec![b'x'; bytes], errors: Vec::new() };
        let mut bytes = Vec::new();
        reply(&mut bytes, Ok(ran(most))).await.unwrap();
        assert_eq!(replied(&mut bytes.as_slice(), u64::MAX).await, Ok(Ok(ran(most))));
        let cause = replied(&mut bytes.as_slice(), limits::PLUGIN_OUTPUT_MAX - 1).await.unwrap_err();
        assert!(cause.contains("more than the limit"), "{cause}");
        assert!(reply(&mut Vec::new(), Ok(ran(most + 1))).await.is_err());
        let asked = |most_output| Program { most_output, ..program(b"") };
        let whole = asked(limits::PLUGIN_OUTPUT_MAX);
        assert_eq!(requested(&mut sent(&whole).await.as_slice()).await.unwrap().0, whole);
        let cause = requested(&mut sent(&asked(limits::PLUGIN_OUTPUT_MAX + 1)).await.as_slice()).await.unwrap_err();
        assert!(cause.contains("it may print 33554432 bytes at most"), "{cause}");
    }

    #[tokio::test]
    async fn a_request_that_breaks_off_anywhere_is_refused() {
        let bytes = sent(&program(b"input")).await;
        for end in 0..bytes.len() {
            assert!(requested(&mut &bytes[..end]).await.is_err(), "{end}");
        }
    }

    #[test]
    fn heads_of_another_form_are_refused_and_no_time_is_above_the_limit() {
        let good = r#"{"path":"/x","arguments":[],"milliseconds":18446744073709551615}"#;
        assert_eq!(Head::parse(good.as_bytes()).unwrap().timeout(), limits::PLUGIN_TIMEOUT_MAX);
        for bad in [
            "",
            "{}",
            r#"{"path":"x","arguments":[],"milliseconds":1}"#,
            r#"{"path":"/x","path":"/y","arguments":[],"milliseconds":1}"#,
            r#"{"path":"/x","arguments":[],"milliseconds":1,"user":"root"}"#,
            r#"{"path":"/x","arguments":[],"milliseconds":1}{}"#,
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
