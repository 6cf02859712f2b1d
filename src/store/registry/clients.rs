//! The HTTP clients for one way of speaking TLS: one for http and one for https, made when they are first needed. A node
//! that asks no registry over https needs no CA certificates, and one that gets them later needs no restart.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Url};

use super::tls::{self, Tls};
use crate::config::{Proxy, ProxyUrl};
use crate::limits;

/// Is told how many bytes of a body have come so far.
pub type Arrived = Arc<dyn Fn(u64) + Send + Sync>;

/// Two clients that share what they are made by.
pub(super) struct Clients {
    user_agent: String,
    proxy: Arc<Proxy>,
    tls: Tls,
    connect_timeout: Duration,
    /// Who wants to know how far a body has come.
    pub(super) arrived: Option<Arrived>,
    http: OnceLock<Client>,
    https: OnceLock<Client>,
}

impl Clients {
    pub(super) fn new(user_agent: &str, proxy: Arc<Proxy>, tls: Tls, connect_timeout: Option<Duration>) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            proxy,
            tls,
            connect_timeout: connect_timeout.unwrap_or(limits::CONNECT_TIMEOUT),
            arrived: None,
            http: OnceLock::new(),
            https: OnceLock::new(),
        }
    }

    /// The same, telling somebody how far bodies have come.
    pub(super) fn telling(self, arrived: Option<Arrived>) -> Self {
        Self { arrived, ..self }
    }

    /// The same, but with another way of speaking TLS.
    pub(super) fn with(&self, tls: Tls, connect_timeout: Option<Duration>) -> Self {
        let arrived = self.arrived.clone();
        Self { arrived, ..Self::new(&self.user_agent, Arc::clone(&self.proxy), tls, connect_timeout) }
    }

    /// Through whom hosts are asked.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The client for a URL.
    ///
    /// # Errors
    /// What keeps it from being made, in words.
    pub(super) fn of(&self, url: &Url) -> Result<Client, String> {
        let is_http = url.scheme() == "http";
        let kept = if is_http { &self.http } else { &self.https };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        // Without roots the client for http loads no certificates, and trusts nobody should it ever be asked to; but
        // its proxy may be reached over TLS.
        let needs_roots = !is_http || self.proxy.http.as_ref().is_some_and(ProxyUrl::is_tls);
        let builder = self.builder();
        let builder = if needs_roots { tls::configure(builder, &self.tls)? } else { builder.tls_certs_only([]) };
        let client = builder.build().map_err(|error| {
            format!("no https client can be made: {}; is the package ca-certificates installed?", deepest(&error))
        })?;
        Ok(kept.get_or_init(|| client).clone())
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(&self.user_agent)
            // Redirects are followed by `exchange`, one by one, under our own rules.
            .redirect(reqwest::redirect::Policy::none())
            // With a proxy of ours the client does not look for others in the environment: the configuration has.
            .proxy(reqwest::Proxy::custom({
                let proxy = Arc::clone(&self.proxy);
                move |url| proxy.of(url).map(|proxy| proxy.secret().clone())
            }))
            .connect_timeout(self.connect_timeout)
            // A registry may send us to many hosts, and each connection that is kept is a descriptor.
            .pool_idle_timeout(limits::IDLE_TIMEOUT)
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS)
    }
}

/// The innermost cause.
pub(super) fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// An error with its causes, each once.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told = format!("{told}: {cause_told}");
        }
        next = cause.source();
    }
    told
}
