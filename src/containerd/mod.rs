//! containerd as its clients see it: its version, plugins, images and pulls, over its socket. `cri` is the kubelet's
//! way in, `process` finds the running program, `settings` reads its effective configuration.
//!
//! Used by `ratifyctl doctor` and `install`. Nothing on a pull's path does: the daemon has no access to this socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_client::Client;
use containerd_client::services::v1 as api;
use containerd_client::tonic::{Request, Status, transport::Channel};
use containerd_client::types::Platform;
use containerd_client::types::transfer::{ImageStore, OciRegistry, RegistryResolver};

use crate::artifact::{Descriptor, Digest};

pub mod cri;
pub mod draft;
pub mod dropin;
pub mod imports;
pub mod process;
pub mod settings;

/// Where containerd listens, unless told otherwise.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where containerds listen: its own, and those that k3s and RKE2, MicroK8s, k0s and Docker bring along.
pub const SOCKETS: [&str; 5] = [
    SOCKET,
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
    "/run/docker/containerd/containerd.sock",
];

/// A connection to containerd.
pub struct Containerd {
    client: Client,
}

/// Why containerd cannot be asked, or what it refuses.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens, or this user may not connect.
    #[error("containerd cannot be reached at {}: {cause}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What connecting said.
        cause: String,
    },
    /// It answered with an error.
    #[error("containerd: {0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("containerd has not answered within {0:?}")]
    Late(Duration),
}

impl From<Status> for Unanswered {
    fn from(status: Status) -> Self {
        Self::Refused(status.message().to_owned())
    }
}

/// A plugin of containerd, as it came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its type and name, as in the configuration: `io.containerd.image-verifier.v1.bindir`.
    pub uri: String,
    /// Why it did not come up.
    pub error: Option<String>,
}

/// A name in containerd's image store, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The namespace: `k8s.io` is the kubelet's.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

impl Containerd {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, or this user may not connect.
    pub async fn connect(socket: &Path) -> Result<Self, Unanswered> {
        let unreachable = |cause: String| Unanswered::Unreachable { socket: socket.to_owned(), cause };
        let endpoint = crate::client::endpoint(socket).map_err(unreachable)?;
        let channel = tokio::time::timeout(ANSWER, endpoint.connect()).await.map_err(|_| Unanswered::Late(ANSWER))?;
        let channel = channel.map_err(|error| unreachable(crate::client::root_cause(&error)))?;
        Ok(Self { client: Client::from(channel) })
    }

    /// Its version, such as `2.1.9`.
    ///
    /// # Errors
    /// No answer.
    pub async fn version(&self) -> Result<String, Unanswered> {
        let mut service = self.client.version();
        Ok(answer(service.version(())).await?.version)
    }

    /// The plugins that it has, in alphabetical order.
    ///
    /// # Errors
    /// No answer.
    pub async fn plugins(&self) -> Result<Vec<Plugin>, Unanswered> {
        let mut service = self.client.introspection();
        let reply = answer(service.plugins(api::PluginsRequest { filters: Vec::new() })).await?;
        let mut plugins: Vec<Plugin> = reply.plugins.into_iter().map(Plugin::from).collect();
        plugins.sort_by(|one, other| one.uri.cmp(&other.uri));
        Ok(plugins)
    }

    /// Every image of every namespace. Names whose target is no valid descriptor are left out.
    ///
    /// # Errors
    /// No answer.
    pub async fn images(&self) -> Result<Vec<Image>, Unanswered> {
        let listed =
            answer(self.client.namespaces().list(api::ListNamespacesRequest { filter: String::new() })).await?;
        let mut images = Vec::new();
        for namespace in listed.namespaces {
            let mut service = self.client.images();
            let request = within(&namespace.name, api::ListImagesRequest { filters: Vec::new() });
            let reply = answer(service.list(request)).await?;
            images.extend(reply.images.into_iter().filter_map(|image| Image::of(&namespace.name, image)));
        }
        images.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        Ok(images)
    }

    /// Pulls an image by the transfer service, as `ctr image pull` does, without unpacking it.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn pull(&self, namespace: &str, name: &str, plain_http: bool) -> Result<(), Unanswered> {
        let scheme = if plain_http { "http" } else { "" };
        let resolver = RegistryResolver { default_scheme: scheme.to_owned(), ..RegistryResolver::default() };
        let source = OciRegistry { reference: name.to_owned(), resolver: Some(resolver) };
        let destination = ImageStore { name: name.to_owned(), platforms: vec![platform()], ..ImageStore::default() };
        let request = api::TransferRequest {
            source: Some(containerd_client::to_any(&source)),
            destination: Some(containerd_client::to_any(&destination)),
            options: None,
        };
        let mut service = self.client.transfer();
        match tokio::time::timeout(PULL, service.transfer(within(namespace, request))).await {
            Ok(reply) => Ok(reply.map(|_| ())?),
            Err(_) => Err(Unanswered::Late(PULL)),
        }
    }

    /// Takes a name away, and waits until what nothing else names is gone.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn remove(&self, namespace: &str, name: &str) -> Result<(), Unanswered> {
        let request = api::DeleteImageRequest { name: name.to_owned(), sync: true, target: None };
        answer(self.client.images().delete(within(namespace, request))).await
    }

    /// The connection, for the services that are not containerd's own.
    fn channel(&self) -> Channel {
        self.client.channel()
    }
}

impl From<api::Plugin> for Plugin {
    fn from(plugin: api::Plugin) -> Self {
        let error = plugin.init_err.map(|status| status.message).filter(|message| !message.is_empty());
        Self { uri: format!("{}.{}", plugin.r#type, plugin.id), error }
    }
}

impl Image {
    fn of(namespace: &str, image: api::Image) -> Option<Self> {
        let target = image.target?;
        let descriptor = Descriptor {
            media_type: target.media_type,
            digest: target.digest.parse::<Digest>().ok()?,
            size: u64::try_from(target.size).ok()?,
        };
        Some(Self { namespace: namespace.to_owned(), name: image.name, descriptor })
    }
}

/// Which of an index's images is fetched: this machine's.
fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), ..Platform::default() }
}

/// A request within a namespace.
fn within<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    // A namespace that is no header's value is none of containerd's either, which then says that one is needed.
    if let Ok(value) = namespace.parse() {
        request.metadata_mut().insert("containerd-namespace", value);
    }
    request
}

async fn answer<T>(
    asked: impl Future<Output = Result<containerd_client::tonic::Response<T>, Status>>,
) -> Result<T, Unanswered> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(Unanswered::Late(ANSWER)),
    }
}

/// How long containerd may take for what it has at hand.
const ANSWER: Duration = Duration::from_secs(10);

/// How long it may take for a pull, the verifiers' time included.
const PULL: Duration = Duration::from_secs(120);
