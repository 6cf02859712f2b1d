//! The kubelet's way into containerd: the image service of the container runtime interface.

use std::time::Duration;

use tokio::time::timeout;

use crate::containerd::{ANSWER, Containerd, PULL, Unanswered};

/// The generated messages and client.
#[allow(clippy::pedantic, clippy::as_conversions, reason = "generated")]
mod v1 {
    tonic::include_proto!("runtime.v1");
}

use v1::image_service_client::ImageServiceClient;

impl Containerd {
    /// Whether CRI has an image by this name.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn cri_has(&self, name: &str) -> Result<bool, Unanswered> {
        let mut service = ImageServiceClient::new(self.channel());
        let asked = service.image_status(v1::ImageStatusRequest { image: spec(name) });
        Ok(within(ANSWER, asked).await?.image.is_some())
    }

    /// Pulls an image as the kubelet has it pulled.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn cri_pull(&self, name: &str) -> Result<(), Unanswered> {
        let mut service = ImageServiceClient::new(self.channel());
        within(PULL, service.pull_image(v1::PullImageRequest { image: spec(name) })).await.map(|_| ())
    }

    /// Removes an image with all its names.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn cri_remove(&self, name: &str) -> Result<(), Unanswered> {
        let mut service = ImageServiceClient::new(self.channel());
        within(ANSWER, service.remove_image(v1::RemoveImageRequest { image: spec(name) })).await.map(|_| ())
    }
}

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: name.to_owned() })
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Unanswered> {
    match timeout(limit, asked).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(Unanswered::Late(limit)),
    }
}
