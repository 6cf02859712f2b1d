//! The three gRPC services of the socket: turns messages into words, asks, and turns words into messages.
//! The peer's uid (SO_PEERCRED) decides who may ask what. The daemon's own uid is no credential.

mod askers;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, BoxStream, StreamExt as _};

use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;
use tonic::metadata::MetadataMap;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::admission::Decision;
use crate::artifact::hex;
use crate::assemble::{Fetched, Root};
use crate::config::{Config, Mode, Unmatched};
use crate::limits;
use crate::live::{Live, Record};
use crate::service::askers::Askers;
use crate::verdict::{self, Verdict};
use crate::wire::{self, v1};

/// Answers all three services.
#[derive(Clone)]
pub struct Service {
    live: Arc<Live>,
    askers: Arc<Askers>,
}

impl Service {
    /// A service over a node's state.
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        Self { live, askers: Arc::default() }
    }

    /// Lets root pass, and those whom the configuration names.
    async fn admit_verifier<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let uid = peer(request)?;
        let named =
            async || self.live.current().await.config.as_ref().is_some_and(|config| config.access.uids.contains(&uid));
        if uid == 0 || named().await {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "uid {uid} may not ask; `access.uids` of the configuration names who may"
        )))
    }

    async fn status_reply(&self) -> v1::StatusReply {
        let force = self.live.current().await;
        v1::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.live.started().elapsed().as_secs(),
            config_path: self.live.path().display().to_string(),
            config_current: force.config_current,
            problems: force.problems.clone(),
            notes: force.notes.clone(),
            generation: force.admission.as_ref().map_or_else(|_| String::new(), |admission| hex(&admission.generation)),
            verdicts: self.live.counts().map(|(token, count)| (token.to_owned(), count)).collect(),
            remembered: self.live.remembered().try_into().unwrap_or(u64::MAX),
            not_enforced: self.live.not_enforced(),
            trusted_roots: force.roots.iter().map(trusted_root).collect(),
            fetched_plugins: force.fetched.iter().map(fetched_plugin).collect(),
            lenient: force.config.as_deref().map(lenient).unwrap_or_default(),
        }
    }
}

fn fetched_plugin(plugin: &Fetched) -> v1::FetchedPlugin {
    let as_of = (plugin.as_of)().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    v1::FetchedPlugin {
        name: plugin.name.clone(),
        source: plugin.source.clone(),
        trust: plugin.trust.to_owned(),
        artifact: plugin.artifact.as_ref().map(ToString::to_string).unwrap_or_default(),
        as_of: as_of.map_or(0, |since| since.as_secs()),
        problem: plugin.problem.clone().unwrap_or_default(),
    }
}

fn trusted_root(root: &Root) -> v1::TrustedRoot {
    let as_of = (root.as_of)().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    v1::TrustedRoot {
        name: root.name.clone(),
        source: root.source.clone(),
        as_of: as_of.map_or(0, |since| since.as_secs()),
    }
}

#[tonic::async_trait]
impl v1::image_verifier_server::ImageVerifier for Service {
    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        let start = Instant::now();
        self.admit_verifier(&request).await?;
        let uid = peer(&request)?;
        let asking = self.askers.begin(uid).ok_or_else(|| {
            let limit = limits::CALLS_PER_USER;
            Status::resource_exhausted(format!("uid {uid} has {limit} questions under way: ask fewer at a time"))
        })?;
        let deadline = deadline(request.metadata(), start);
        let enforced = !request.get_ref().audit;
        let (name, descriptor) = wire::question(request.into_inner()).map_err(Status::invalid_argument)?;
        let digest = descriptor.digest.clone();
        let decision = self.live.decide(&name, descriptor, enforced, deadline).await;
        info!(
            %digest,
            name = verdict::brief(&name),
            token = decision.verdict.token().as_str(),
            enforced,
            cause = decision.verdict.cause(),
            ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            id = decision.id,
            remembered = decision.remembered,
            "verdict"
        );
        asking.answered();
        Ok(Response::new(reply(&decision)))
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for Service {
    type VerdictsStream = BoxStream<'static, Result<v1::VerdictsReply, Status>>;

    async fn verdicts(&self, request: Request<v1::VerdictsRequest>) -> Result<Response<Self::VerdictsStream>, Status> {
        self.admit_verifier(&request).await?;
        let (kept, coming) = self.live.watch();
        let kept = stream::iter(kept);
        let records = if request.into_inner().watch {
            // One who is too slow misses some, and is told by nothing but their absence.
            kept.chain(BroadcastStream::new(coming).filter_map(async |record| record.ok())).boxed()
        } else {
            kept.boxed()
        };
        Ok(Response::new(records.map(|record| Ok(listed(&record))).boxed()))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        self.admit_verifier(&request).await?;
        Ok(Response::new(self.status_reply().await))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainReply>, Status> {
        self.admit_verifier(&request).await?;
        let id = request.into_inner().id;
        let record = self.live.explain(&id).ok_or_else(|| {
            Status::not_found(format!(
                "there is no verdict {:?}; the last {} since ratifyd started are kept",
                verdict::brief(&id),
                limits::RECENT_VERDICTS
            ))
        })?;
        let report = record.report.as_ref().map(|tree| serde_json::to_string(tree.as_ref()));
        let report = report.transpose().map_err(|error| Status::internal(error.to_string()))?.unwrap_or_default();
        Ok(Response::new(v1::ExplainReply {
            verdict: Some(said(&record.verdict, &record.id)),
            name: record.name.clone(),
            descriptor: Some(record.descriptor.clone().into()),
            time: seconds(record.time),
            report,
            audit: !record.enforced,
        }))
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Service {
    async fn flush(&self, request: Request<v1::FlushRequest>) -> Result<Response<v1::FlushReply>, Status> {
        admit_root(&request)?;
        let forgotten = self.live.flush().await;
        info!(forgotten, "remembered verdicts forgotten on request");
        Ok(Response::new(v1::FlushReply { forgotten: forgotten.try_into().unwrap_or(u64::MAX) }))
    }

    async fn reload(&self, request: Request<v1::ReloadRequest>) -> Result<Response<v1::StatusReply>, Status> {
        admit_root(&request)?;
        self.live.reload().await;
        Ok(Response::new(self.status_reply().await))
    }
}

/// What a configuration does not refuse.
fn lenient(config: &Config) -> Vec<v1::Lenient> {
    let mut lenient = Vec::new();
    if config.unmatched == Unmatched::Allow {
        lenient.push(v1::Lenient { scope: String::new(), mode: "allow".to_owned() });
    }
    for executor in &config.executors {
        let mode = match executor.mode {
            Mode::Audit(_) => "audit",
            Mode::Allow => "allow",
            Mode::Enforce(_) | Mode::Deny => continue,
        };
        let scopes = executor.scopes.iter().map(|scope| scope.value.clone());
        lenient.extend(scopes.map(|scope| v1::Lenient { scope, mode: mode.to_owned() }));
    }
    lenient
}

fn reply(decision: &Decision) -> v1::VerifyReply {
    v1::VerifyReply { verdict: Some(said(&decision.verdict, &decision.id)), remembered: decision.remembered }
}

fn said(verdict: &Verdict, id: &str) -> v1::Verdict {
    v1::Verdict { token: v1::Token::from(verdict.token()).into(), cause: verdict.cause().to_owned(), id: id.to_owned() }
}

fn listed(record: &Record) -> v1::VerdictsReply {
    v1::VerdictsReply {
        verdict: Some(said(&record.verdict, &record.id)),
        name: record.name.clone(),
        descriptor: Some(record.descriptor.clone().into()),
        time: seconds(record.time),
        audit: !record.enforced,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn admit_root<T>(request: &Request<T>) -> Result<(), Status> {
    match peer(request)? {
        0 => Ok(()),
        uid => Err(Status::permission_denied(format!("uid {uid} may not do this, only root may"))),
    }
}

/// Who is at the other end, as the kernel says.
fn peer<T>(request: &Request<T>) -> Result<u32, Status> {
    let info = request.extensions().get::<UdsConnectInfo>();
    let cred = info.and_then(|info| info.peer_cred.as_ref());
    cred.map(tokio::net::unix::UCred::uid).ok_or_else(|| Status::permission_denied("the kernel does not say who asks"))
}

/// When the answer must be under way: the call's own deadline less a margin, within [`limits::CALL_TIMEOUT`].
fn deadline(metadata: &MetadataMap, start: Instant) -> Instant {
    let told = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(wire::grpc_timeout);
    let allowed = told.unwrap_or(limits::CALL_TIMEOUT).min(limits::CALL_TIMEOUT);
    start.checked_add(allowed.saturating_sub(limits::ANSWER_MARGIN)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_deadline_is_the_calls_own_less_a_margin() {
        let start = Instant::now();
        let left = |header: Option<&'static str>| {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("grpc-timeout", header.parse().unwrap());
            }
            deadline(&metadata, start) - start
        };
        assert_eq!(left(Some("8S")), Duration::from_millis(7500));
        assert_eq!(left(Some("7999999u")), Duration::from_micros(7_499_999));
        assert_eq!(left(Some("100m")), Duration::ZERO);
        for without_meaning in [None, Some("1H"), Some("x"), Some("8"), Some("S"), Some("123456789S"), Some("-1S")] {
            assert_eq!(left(without_meaning), limits::CALL_TIMEOUT - limits::ANSWER_MARGIN, "{without_meaning:?}");
        }
    }
}
