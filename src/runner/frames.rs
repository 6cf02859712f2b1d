//! What goes over the runner's socket: a request of two frames (head, input), a reply of three (head, output, stderr). A
//! frame is its length in four bytes, the highest first, and so many bytes. Heads are JSON. Neither end trusts the other.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::json;
use crate::limits;
use crate::runner::{Program, Ran};
use crate::verdict::printable;

/// What goes before the input: which program, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// The executable, by its absolute path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take, in milliseconds.
    pub milliseconds: u64,
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
    let head = Head { path: program.path.clone(), arguments: program.arguments.clone(), milliseconds };
    let head = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
    write(to, &head, limits::RUNNER_HEAD_BYTES).await?;
    write(to, &program.input, limits::PLUGIN_INPUT_BYTES).await
}

/// Takes a request.
pub(super) async fn requested(from: &mut (impl AsyncRead + Unpin)) -> Result<(Program, Duration), String> {
    let head = Head::parse(&read(from, limits::RUNNER_HEAD_BYTES).await?)?;
    let timeout = head.timeout();
    let input = read(from, limits::PLUGIN_INPUT_BYTES).await?;
    Ok((Program { path: head.path, arguments: head.arguments, input }, timeout))
}

/// Sends a reply.
pub(super) async fn reply(to: &mut (impl AsyncWrite + Unpin), ran: Result<Ran, String>) -> Result<(), String> {
    let (head, output, errors) = match ran {
        Ok(Ran { code, ended, output, errors }) => (Reply { code, ended, refused: None }, output, errors),
        Err(cause) => (Reply { code: None, ended: String::new(), refused: Some(cause) }, Vec::new(), Vec::new()),
    };
    let head = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
    write(to, &head, limits::RUNNER_HEAD_BYTES).await?;
    write(to, &output, limits::PLUGIN_OUTPUT_BYTES).await?;
    write(to, &errors, limits::PLUGIN_ERROR_BYTES).await
}

/// Takes a reply: what came of the program, or why nothing did.
pub(super) async fn replied(from: &mut (impl AsyncRead + Unpin)) -> Result<Result<Ran, String>, String> {
    let Reply { code, ended, refused } = Reply::parse(&read(from, limits::RUNNER_HEAD_BYTES).await?)?;
    let output = read(from, limits::PLUGIN_OUTPUT_BYTES).await?;
    let errors = read(from, limits::PLUGIN_ERROR_BYTES).await?;
    Ok(match refused {
        None => Ok(Ran { code, ended, output, errors }),
        Some(cause) => Err(cause),
    })
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
        Program { path: "/opt/notation-x".into(), arguments: vec!["verify-signature".into()], input: input.to_owned() }
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
            assert_eq!(replied(&mut bytes.as_slice()).await, Ok(ran));
        }
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
