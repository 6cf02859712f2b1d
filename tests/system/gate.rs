//! A door before a registry: who connects waits until it is opened. So tests can hold a verification for as long as
//! they need, without a clock.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::common::registry::Registry;

pub struct Gate {
    host: String,
    open: watch::Sender<bool>,
    came: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Gate {
    /// A closed door before this registry.
    pub async fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (open, opened) = watch::channel(false);
        let (count, came) = watch::channel(0);
        let task = tokio::spawn(keep(listener, registry.host().to_owned(), opened, count));
        Self { host, open, came, task }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until so many have come.
    pub async fn came(&self, times: usize) {
        self.came.clone().wait_for(|count| *count >= times).await.unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(listener: TcpListener, registry: String, opened: watch::Receiver<bool>, came: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let (mut opened, registry) = (opened.clone(), registry.clone());
        connections.spawn(async move {
            opened.wait_for(|open| *open).await.unwrap();
            let mut server = TcpStream::connect(registry).await.unwrap();
            // Either may hang up when it likes.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        came.send_modify(|count| *count += 1);
    }
}
