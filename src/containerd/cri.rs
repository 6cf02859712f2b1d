//! The kubelet's way into containerd: the image service of the container runtime interface.

use tokio::time::timeout;

use crate::containerd::{Containerd, PULL, Unanswered};

/// The generated messages and client.
#[allow(clippy::pedantic, clippy::as_conversions, reason = "generated")]
mod v1 {
    tonic::include_proto!("runtime.v1");
}

use v1::image_service_client::ImageServiceClient;

impl Containerd {
    /// Pulls an image as the kubelet has it pulled.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn cri_pull(&self, name: &str) -> Result<(), Unanswered> {
        let mut service = ImageServiceClient::new(self.channel());
        let request = v1::PullImageRequest { image: Some(v1::ImageSpec { image: name.to_owned() }) };
        match timeout(PULL, service.pull_image(request)).await {
            Ok(reply) => Ok(reply.map(|_| ())?),
            Err(_) => Err(Unanswered::Late(PULL)),
        }
    }
}
