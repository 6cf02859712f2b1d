//! What a TLS connection to a registry is held to: whose certificates count, what is shown of ourselves, and whether
//! anybody's certificate will do. `hosts` reads the files, the transport has its clients made with [`configure`].
//! Reads no file; what is broken is an error, never passed over.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, InvalidMessage, OtherError, RootCertStore,
    SignatureScheme,
};
use zeroize::Zeroizing;

/// How one host is reached over TLS. The same settings are equal, so that their connections can be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// Whether the system's certificate authorities count.
    pub(super) system_roots: bool,
    /// Whose certificates count besides.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Who we are to a registry that asks; the first one that it takes is shown.
    pub(super) clients: Vec<Client>,
    /// Whether anybody's certificate will do.
    pub(super) skip_verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { system_roots: true, roots: Vec::new(), clients: Vec::new(), skip_verify: false }
    }
}

/// Shows no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("system_roots", &self.system_roots)
            .field("roots", &self.roots.len())
            .field("clients", &self.clients.len())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

/// A certificate with its chain, and the key that belongs to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<Zeroizing<PrivateKeyDer<'static>>>,
}

/// Has a client speak TLS so.
///
/// # Errors
/// What keeps it from that, in words.
pub(super) fn configure(builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder, String> {
    // The settings of every other client.
    if *tls == Tls::default() {
        return Ok(builder);
    }
    Ok(builder.tls_backend_preconfigured(config(tls)?))
}

/// The certificates of a PEM bundle that others are judged by.
///
/// # Errors
/// What is wrong with it: one bad block refuses the whole bundle.
pub(super) fn roots(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let roots = certificates(name, pem)?;
    for (number, root) in (1_usize..).zip(&roots) {
        webpki::anchor_from_trusted_cert(root)
            .map_err(|error| format!("{name}: certificate {number} in it cannot be read: {error}"))?;
    }
    Ok(roots)
}

/// A client's certificates and its key, each from the file of that name, which may be the same.
///
/// # Errors
/// What is wrong with either, or that they do not belong together.
pub(super) fn client(certificate: (&str, &[u8]), key: (&str, &[u8])) -> Result<Client, String> {
    let chain = certificates(certificate.0, certificate.1)?;
    let name = key.0;
    let key = PrivateKeyDer::from_pem_slice(key.1).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("{name}: it holds no private key in PEM that is not encrypted"),
        error => format!("{name}: it is not PEM: {error}"),
    })?;
    match CertifiedKey::from_der(chain.clone(), key.clone_key(), &aws_lc_rs::default_provider()) {
        Ok(_) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(format!("{name}: the key in it is not that of the certificate in {}", certificate.0));
        }
        Err(error) => return Err(format!("{name}: the key in it cannot be used: {error}")),
    }
    Ok(Client { chain, key: Arc::new(Zeroizing::new(key)) })
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| format!("{name}: it is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{name}: it holds no certificate in PEM"));
    }
    Ok(certificates)
}

/// Whether a request over TLS has failed in such a way that a host that is written with http is then asked over http,
/// as containerd does (`core/remotes/docker`, `HTTPFallback`): it answered with something else than TLS or not at all,
/// or nobody listens at the port of https and no port was written.
#[must_use]
pub(super) fn is_for_http(error: &reqwest::Error, port_is_written: bool) -> bool {
    if !error.is_connect() {
        return false;
    }
    if error.is_timeout() {
        return true;
    }
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) = error.downcast_ref() {
            return true;
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return !port_is_written;
        }
        // An I/O error does not name what it wraps as its source.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let clients = tls.clients.iter().map(|client| {
        let key = CertifiedKey::from_der(client.chain.clone(), client.key.clone_key(), &provider);
        key.map(Arc::new).map_err(|error| error.to_string())
    });
    let clients = Clients(clients.collect::<Result<_, _>>()?);
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, provider)?)
        .with_client_cert_resolver(Arc::new(clients));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if tls.skip_verify {
        return Ok(Arc::new(Anybody(provider)));
    }
    let roots = tls.roots.clone();
    let known: Arc<dyn ServerCertVerifier> = if tls.system_roots {
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots.clone(), provider);
        Arc::new(verifier.map_err(|error| format!("{error}; is the package ca-certificates installed?"))?)
    } else {
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|error| error.to_string())?
    };
    Ok(Arc::new(Known { known, roots }))
}

/// Judges a registry's certificate by certificate authorities. One that is itself among the roots we were given needs
/// no authority, though it be one: that is how a certificate that signs itself is trusted, in Docker's own instructions
/// too.
#[derive(Debug)]
struct Known {
    known: Arc<dyn ServerCertVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.known.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // webpki finds this out after it has checked the period of validity, before anything else.
            Err(error) if is_authority(&error) && self.roots.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}

/// Whether a server's certificate was refused because it is a certificate authority's.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else { return false };
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Takes anybody for the registry (`skip_verify`).
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // Where anybody's certificate will do, so will a signature by anybody: certificates that cannot even be read are
    // what this is set for.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Chooses the certificate that is shown, as Go's TLS does: the first whose key can sign as asked and that one of the
/// authorities whom the registry names has issued, itself or one of its chain (RFC 8446, section 4.2.4).
#[derive(Debug)]
struct Clients(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Clients {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(schemes).is_some()
                && (authorities.is_empty()
                    || key.cert.iter().any(|certificate| authorities.iter().any(|name| is_issuer(certificate, name))))
        };
        self.0.iter().find(fits).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Whether this is the name, in DER, of a certificate's issuer. webpki has it without tag and length.
fn is_issuer(certificate: &CertificateDer<'_>, name: &[u8]) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
    let issuer = certificate.issuer();
    // A tag and at least one byte of length.
    name.strip_suffix(issuer).is_some_and(|header| matches!(header.len(), 2..=4))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use reqwest::{Client as Http, Response};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A certificate and its key, in PEM.
    struct Made {
        params: CertificateParams,
        key: KeyPair,
        pem: String,
    }

    impl Made {
        fn key(&self) -> String {
            self.key.serialize_pem()
        }

        fn roots(&self) -> Vec<CertificateDer<'static>> {
            roots("ca", self.pem.as_bytes()).unwrap()
        }

        fn client(&self) -> Client {
            client(("cert", self.pem.as_bytes()), ("key", self.key().as_bytes())).unwrap()
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(["registry.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn own(params: CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Made { params, key, pem }
    }

    /// A certificate authority, whose certificate is for a registry as well.
    fn authority(name: &str) -> Made {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own(params)
    }

    fn issued(name: &str, by: &Made) -> Made {
        let (params, key) = (params(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap().pem();
        Made { params, key, pem }
    }

    /// A registry with this certificate that takes clients issued by `clients`, and answers with the first bytes of the
    /// certificate that it was shown.
    async fn registry(made: &Made, clients: &[&Made]) -> SocketAddr {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut store = RootCertStore::empty();
            for root in clients.iter().flat_map(|made| made.roots()) {
                store.add(root).unwrap();
            }
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        };
        let key = PrivateKeyDer::from_pem_slice(made.key().as_bytes()).unwrap();
        let config = builder.with_single_cert(made.roots(), key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec()).unwrap_or_default();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", shown.len());
                let _ = stream.write_all(&[answer.as_bytes(), &shown].concat()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }

    async fn ask(tls: &Tls, address: SocketAddr, host: &str) -> Result<Response, String> {
        let builder = Http::builder().no_proxy().resolve(host, address);
        let client = configure(builder, tls).unwrap().build().unwrap();
        let url = format!("https://{host}:{}/", address.port());
        client.get(url).send().await.map_err(|error| format!("{error:?}"))
    }

    fn trusting(made: &Made) -> Tls {
        Tls { system_roots: false, roots: made.roots(), ..Tls::default() }
    }

    const HOST: &str = "registry.example";

    #[tokio::test]
    async fn a_registry_is_judged_by_the_roots_that_are_named() {
        let (ca, other) = (authority("ca"), authority("other"));
        let address = registry(&issued("registry", &ca), &[]).await;
        assert!(ask(&trusting(&ca), address, HOST).await.is_ok());
        assert!(ask(&Tls { system_roots: true, ..trusting(&ca) }, address, HOST).await.is_ok());
        for tls in [trusting(&other), Tls { roots: other.roots(), ..Tls::default() }] {
            let error = ask(&tls, address, HOST).await.unwrap_err();
            assert!(error.contains("UnknownIssuer"), "{error}");
        }
        let error = ask(&trusting(&ca), address, "other.example").await.unwrap_err();
        assert!(error.contains("NotValidForName"), "{error}");
        let anybody = Tls { skip_verify: true, ..trusting(&other) };
        assert!(ask(&anybody, address, "other.example").await.is_ok());
    }

    #[tokio::test]
    async fn a_certificate_that_signs_itself_counts_where_it_is_named_itself_and_only_for_its_name_and_time() {
        for made in [own(params("leaf")), authority("both")] {
            let address = registry(&made, &[]).await;
            let answer = ask(&trusting(&made), address, HOST).await;
            assert!(answer.is_ok(), "{answer:?}");
            let error = ask(&trusting(&made), address, "other.example").await.unwrap_err();
            assert!(error.contains("NotValidForName"), "{error}");
            let error = ask(&trusting(&authority("both")), address, HOST).await.unwrap_err();
            assert!(error.contains("InvalidCertificate"), "{error}");
        }
        let mut old = params("old");
        old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        old.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let old = own(old);
        let error = ask(&trusting(&old), registry(&old, &[]).await, HOST).await.unwrap_err();
        assert!(error.contains("Expired"), "{error}");
    }

    #[tokio::test]
    async fn of_several_client_certificates_the_one_is_shown_that_the_registry_takes() {
        let (ca, first, second) = (authority("ca"), authority("first"), authority("second"));
        let (ours, theirs) = (issued("ours", &first), issued("theirs", &second));
        let address = registry(&issued("registry", &ca), &[&second]).await;
        let clients =
            |made: &[&Made]| Tls { clients: made.iter().map(|made| made.client()).collect(), ..trusting(&ca) };
        let answer = ask(&clients(&[&ours, &theirs]), address, HOST).await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), theirs.roots()[0].as_ref());
        for none in [clients(&[]), clients(&[&ours])] {
            let answer = match ask(&none, address, HOST).await {
                Ok(answer) => answer.bytes().await.map_err(|error| format!("{error:?}")),
                Err(error) => Err(error),
            };
            assert!(answer.is_err(), "{answer:?}");
        }
        // Nobody asks who we are, so nothing is shown.
        let address = registry(&issued("registry", &ca), &[]).await;
        assert!(ask(&clients(&[&ours]), address, HOST).await.unwrap().bytes().await.unwrap().is_empty());
    }

    #[test]
    fn broken_certificates_and_keys_are_errors_that_name_their_file() {
        let (ours, other) = (authority("ours"), authority("other"));
        let cut = ours.pem.replace("-----END CERTIFICATE-----", "");
        let garbage = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            (String::new(), "ca.pem: it holds no certificate in PEM"),
            ("hunter2".to_owned(), "ca.pem: it holds no certificate in PEM"),
            (ours.key(), "ca.pem: it holds no certificate in PEM"),
            (cut, "ca.pem: it is not PEM: "),
            (ours.pem.replacen("MII", "M!I", 1), "ca.pem: it is not PEM: "),
            (format!("{}{garbage}", ours.pem), "ca.pem: certificate 2 in it cannot be read: "),
        ] {
            let error = roots("ca.pem", pem.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(roots("ca.pem", format!("{}{}{}", ours.pem, ours.key(), other.pem).as_bytes()).unwrap().len(), 2);
        let key = ours.key();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let garbage_key = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n".to_owned();
        for (pem, key, expected) in [
            ("", key.clone(), "c.cert: it holds no certificate"),
            (garbage, key.clone(), "c.key: the key in it cannot be used: "),
            (&ours.pem, String::new(), "c.key: it holds no private key in PEM that is not encrypted"),
            (&ours.pem, encrypted, "c.key: it holds no private key in PEM that is not encrypted"),
            (&ours.pem, key.replace("-----END PRIVATE KEY-----", ""), "c.key: it is not PEM: "),
            (&ours.pem, garbage_key, "c.key: the key in it cannot be used: "),
            (&ours.pem, other.key(), "c.key: the key in it is not that of the certificate in c.cert"),
        ] {
            let error = client(("c.cert", pem.as_bytes()), ("c.key", key.as_bytes())).err().unwrap();
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
        }
        let both = format!("{key}{}", ours.pem);
        assert!(client(("c", both.as_bytes()), ("c", both.as_bytes())).is_ok());
    }

    #[test]
    fn the_same_settings_are_equal_and_no_key_is_shown() {
        let made = authority("a");
        let tls = || Tls { clients: vec![made.client()], ..trusting(&made) };
        assert_eq!(tls(), tls());
        assert_ne!(tls(), Tls { clients: vec![authority("a").client()], ..trusting(&made) });
        assert_eq!(format!("{:?}", tls()), "Tls { system_roots: false, roots: 1, clients: 1, skip_verify: false }");
    }

    /// How a request over TLS to this address fails.
    async fn failure(address: SocketAddr) -> reqwest::Error {
        let client = Http::builder().no_proxy().tls_certs_only([]).connect_timeout(Duration::from_millis(200));
        client.build().unwrap().get(format!("https://{address}/")).send().await.unwrap_err()
    }

    #[tokio::test]
    async fn http_follows_where_tls_is_not_spoken_and_not_where_it_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let error = failure(address).await;
        plain.await.unwrap();
        assert!(is_for_http(&error, true) && is_for_http(&error, false), "{error:?}");
        // The port is free again.
        let refused = failure(address).await;
        assert!(!is_for_http(&refused, true) && is_for_http(&refused, false), "{refused:?}");
        let untrusted = failure(registry(&authority("a"), &[]).await).await;
        assert!(!is_for_http(&untrusted, false), "{untrusted:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = failure(silent.local_addr().unwrap()).await;
        assert!(is_for_http(&error, true), "{error:?}");
    }
}
