//! Trusted certificates as operators keep them: bundles of PEM blocks (RFC 7468), or DER. Called when configuration is
//! assembled. Never takes a bundle in part: one bad block refuses it all, because a root that is silently left out
//! is an outage, and a key among certificates is a leak.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Header, Reader as _, SliceReader};

use super::{BadCertificate, Certificate};
use crate::limits;

/// Parses the certificates of a file: a PEM bundle, or DER, where several stand one after the other.
///
/// # Errors
/// See [`BadBundle`]; a file without a certificate is one.
pub fn anchors(bytes: &[u8]) -> Result<Vec<Certificate>, BadBundle> {
    // A certificate has more bytes than a length of one byte can tell; no text has such a byte after its first "0".
    match bytes {
        [DER_SEQUENCE, length, ..] if *length >= 0x80 => anchors_from_der(bytes),
        _ => anchors_from_pem(bytes),
    }
}

fn anchors_from_der(bytes: &[u8]) -> Result<Vec<Certificate>, BadBundle> {
    check_size(bytes)?;
    let mut certificates = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len().saturating_sub(rest.len());
        let bad = |cause| BadBundle::Der { at, cause };
        let certificate;
        (certificate, rest) = split_der(rest).map_err(|error| bad(BadCertificate::Malformed(error)))?;
        certificates.push(Certificate::from_der(certificate).map_err(bad)?);
    }
    Ok(certificates)
}

/// The first value and what follows it.
fn split_der(bytes: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(bytes)?;
    let content = Header::decode(&mut reader)?.length;
    reader.read_slice(content)?;
    let end = usize::try_from(reader.position())?;
    Ok(bytes.split_at_checked(end).unwrap_or((bytes, &[])))
}

fn check_size(bytes: &[u8]) -> Result<(), BadBundle> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::TRUST_FILE_BYTES {
        return Err(BadBundle::TooLarge(bytes.len()));
    }
    Ok(())
}

/// Parses the certificates of a PEM bundle, in its order. Text outside of the blocks is passed over
/// (RFC 7468, section 2), a block of another kind is an error.
///
/// # Errors
/// See [`BadBundle`]; a bundle without a certificate is one.
pub fn anchors_from_pem(bytes: &[u8]) -> Result<Vec<Certificate>, BadBundle> {
    let blocks = blocks(bytes, CERTIFICATE)?;
    match (blocks.is_empty(), bytes.first()) {
        (false, _) => {}
        (true, Some(&DER_SEQUENCE)) => return Err(BadBundle::LooksLikeDer),
        (true, _) => return Err(BadBundle::Empty),
    }
    let certificate = |(line, der): (usize, Vec<u8>)| {
        Certificate::from_der(&der).map_err(|cause| BadBundle::Certificate { line, cause })
    };
    blocks.into_iter().map(certificate).collect()
}

/// What the blocks of some PEM hold, each with its line; all are of one kind.
///
/// # Errors
/// See [`BadBundle`].
pub fn blocks(bytes: &[u8], label: &'static str) -> Result<Vec<(usize, Vec<u8>)>, BadBundle> {
    check_size(bytes)?;
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).map(|(number, line)| (number, line.trim_ascii()));
    while let Some((line, text)) = lines.next() {
        let Some(found) = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else {
            if has(text, BEGIN.trim_ascii_end()) {
                return Err(BadBundle::Begin { line });
            }
            if has(text, END) {
                return Err(BadBundle::End { line });
            }
            continue;
        };
        let found = String::from_utf8_lossy(found.get(..found.len().min(LABEL_BYTES)).unwrap_or_default()).into_owned();
        if found.contains("PRIVATE KEY") {
            return Err(BadBundle::PrivateKey { line });
        }
        if found != label {
            return Err(BadBundle::Label { line, found, expected: label });
        }
        let body = body(&mut lines, label).ok_or(BadBundle::Unterminated { line })?;
        blocks.push((line, STANDARD.decode(body).map_err(|cause| BadBundle::Base64 { line, cause })?));
    }
    Ok(blocks)
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The text of a block up to the line that ends it.
fn body<'a>(lines: &mut impl Iterator<Item = (usize, &'a [u8])>, label: &str) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for (_, text) in lines {
        if text.starts_with(DASHES) {
            return (text == format!("-----END {label}-----").as_bytes()).then_some(body);
        }
        body.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    }
    None
}

/// Why bytes are no bundle of certificates. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// More than [`limits::TRUST_FILE_BYTES`].
    #[error("it has {0} bytes, the limit is {limit}", limit = limits::TRUST_FILE_BYTES)]
    TooLarge(usize),
    /// No block at all.
    #[error("there is no certificate in it: expected at least one -----BEGIN CERTIFICATE----- block")]
    Empty,
    /// No block, and the first byte of DER.
    #[error("there is no PEM block in it; it looks like DER: convert it with openssl x509 -inform der -outform pem")]
    LooksLikeDer,
    /// A private key.
    #[error("line {line}: a private key stands here; take it out, and hold it for leaked")]
    PrivateKey {
        /// Where its block begins.
        line: usize,
    },
    /// A line that looks like the beginning of a block and is none.
    #[error("line {line}: a block begins here, but its line has more or less than -----BEGIN, its label and -----")]
    Begin {
        /// Which.
        line: usize,
    },
    /// A line that ends a block where none is open: the line that begins it is damaged.
    #[error("line {line}: a block ends here whose -----BEGIN line is missing or damaged")]
    End {
        /// Which.
        line: usize,
    },
    /// A block of another kind.
    #[error("line {line}: a block of {found:?} stands here, expected only {expected}")]
    Label {
        /// Where it begins.
        line: usize,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A block without its end.
    #[error("line {line}: the block that begins here has no -----END line of its own")]
    Unterminated {
        /// Where it begins.
        line: usize,
    },
    /// A block that is not base64.
    #[error("line {line}: the block that begins here is no base64: {cause}")]
    Base64 {
        /// Where it begins.
        line: usize,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// A certificate in DER that cannot be parsed.
    #[error("byte {at}: {cause}")]
    Der {
        /// Where it begins, counted from 0.
        at: usize,
        /// Why.
        cause: BadCertificate,
    },
    /// A block that is no certificate.
    #[error("line {line}: {cause}")]
    Certificate {
        /// Where it begins.
        line: usize,
        /// What is wrong with it.
        cause: BadCertificate,
    },
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";
const CERTIFICATE: &str = "CERTIFICATE";

/// How much of a block's label is read: no real one is longer.
const LABEL_BYTES: usize = 64;

/// The first byte of a certificate in DER.
const DER_SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let body: Vec<String> =
            STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.join("\n"))
    }

    fn certificate(number: usize) -> Vec<u8> {
        chain().remove(number).der().to_vec()
    }

    #[test]
    fn a_certificate_whose_first_line_is_damaged_is_not_passed_over() {
        let two = format!("{}{}", pem("CERTIFICATE", &certificate(0)), pem("CERTIFICATE", &certificate(1)));
        let second = two.rfind(str::from_utf8(BEGIN).unwrap()).unwrap();
        let end = two.lines().count();
        for damage in ["---\u{4}--BEGIN", "----BEGIN", "-----BEGLN"] {
            let damaged = format!("{}{}", &two[..second], two[second..].replacen("-----BEGIN", damage, 1));
            assert_eq!(anchors_from_pem(damaged.as_bytes()), Err(BadBundle::End { line: end }), "{damage}");
        }
        for text in ["# -----BEGIN\n", "-----BEGIN \n", "x-----BEGIN CERTIFICATE\n"] {
            let line = two.lines().count() + 1;
            assert_eq!(anchors_from_pem(format!("{two}{text}").as_bytes()), Err(BadBundle::Begin { line }), "{text}");
        }
    }

    #[test]
    fn a_block_whose_first_line_is_not_exact_is_an_error_and_never_passed_over() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for broken in
            [format!("\u{feff}{pem}"), format!("-{pem}"), pem.replace("CERTIFICATE-----\nA", "CERTIFICATE----\nA")]
        {
            assert_eq!(anchors_from_pem(broken.as_bytes()), Err(BadBundle::Begin { line: 1 }), "{broken:?}");
        }
    }

    #[test]
    fn all_certificates_of_a_bundle_are_read_in_order() {
        let chain = chain();
        let blocks: Vec<String> = chain.iter().map(|certificate| pem("CERTIFICATE", certificate.der())).collect();
        let bundle =
            format!("\u{feff}subject=/CN=root\n{}  \nissuer: x\n\n{}{}trailing", blocks[0], blocks[1], blocks[2]);
        assert_eq!(anchors_from_pem(bundle.as_bytes()), Ok(chain.clone()));
        let windows = bundle.replace('\n', "\r\n");
        assert_eq!(anchors_from_pem(windows.as_bytes()), Ok(chain.clone()));
        let unterminated_line = blocks[2].trim_end();
        assert_eq!(anchors_from_pem(unterminated_line.as_bytes()), Ok(vec![chain[2].clone()]));
        let latin1 = [b"O=J\xfcrgen\n".as_slice(), blocks[2].as_bytes()].concat();
        assert_eq!(anchors_from_pem(&latin1), Ok(vec![chain[2].clone()]));
    }

    #[test]
    fn one_bad_block_refuses_the_bundle() {
        let good = pem("CERTIFICATE", &certificate(2));
        let lines = good.lines().count();
        let cut = good.replace("-----END CERTIFICATE-----", "");
        for (bad, expected) in [
            (pem("PRIVATE KEY", b"secret"), "a private key stands here"),
            (pem("EC PRIVATE KEY", b"secret"), "a private key stands here"),
            (pem("ENCRYPTED PRIVATE KEY", b"secret"), "a private key stands here"),
            (pem("PUBLIC KEY", b"x"), "a block of \"PUBLIC KEY\" stands here"),
            (pem("TRUSTED CERTIFICATE", &certificate(2)), "a block of \"TRUSTED CERTIFICATE\" stands here"),
            (pem("CERTIFICATE", b"x"), "it is no X.509 certificate in DER"),
            (pem("CERTIFICATE", b""), "it is no X.509 certificate in DER"),
            (cut.clone(), "has no -----END line"),
            (format!("{cut}{good}"), "has no -----END line"),
            (good.replacen("MII", "M!I", 1), "is no base64"),
            (good.replacen("MII", "Proc-Type: 4,ENCRYPTED\nMII", 1), "is no base64"),
        ] {
            let bundle = format!("{good}{bad}");
            let found = anchors_from_pem(bundle.as_bytes()).unwrap_err().to_string();
            assert!(found.starts_with(&format!("line {}: ", lines + 1)) && found.contains(expected), "{found}");
            assert!(!found.contains("secret"));
        }
    }

    #[test]
    fn a_bundle_without_a_certificate_is_an_error() {
        assert_eq!(anchors_from_pem(b""), Err(BadBundle::Empty));
        assert_eq!(anchors_from_pem(b"\n# nothing here\n"), Err(BadBundle::Empty));
        assert_eq!(anchors_from_pem(&certificate(2)), Err(BadBundle::LooksLikeDer));
    }

    #[test]
    fn certificates_in_der_are_read_alone_and_one_after_the_other() {
        let chain = chain();
        let der: Vec<u8> = chain.iter().flat_map(|certificate| certificate.der().to_vec()).collect();
        assert_eq!(anchors(chain[0].der()), Ok(chain[..1].to_vec()));
        assert_eq!(anchors(&der), Ok(chain.clone()));
        // Text that begins as DER does is text.
        let text = format!("0 s:CN=signer\n{}", pem("CERTIFICATE", chain[2].der()));
        assert_eq!(anchors(text.as_bytes()), Ok(chain[2..].to_vec()));
        assert_eq!(anchors(b"0"), Err(BadBundle::LooksLikeDer));
        assert_eq!(anchors(b""), Err(BadBundle::Empty));
    }

    #[test]
    fn der_of_which_one_byte_is_wrong_missing_or_too_many_is_refused_as_a_whole() {
        let chain = chain();
        let first = chain[0].der().len();
        for (more, expected) in [
            (&b"x"[..], "it is no X.509 certificate in DER"),
            (b"\n", "it is no X.509 certificate in DER"),
            (&chain[1].der()[..chain[1].der().len() - 1], "it is no X.509 certificate in DER"),
            (b"\x30\x82\x00\x00", "it is no X.509 certificate in DER"),
            (b"\x30\x80\x00\x00", "it is no X.509 certificate in DER"),
        ] {
            let found = anchors(&[chain[0].der(), more].concat()).unwrap_err().to_string();
            assert!(found.starts_with(&format!("byte {first}: ")) && found.contains(expected), "{found}");
        }
        let limit = usize::try_from(limits::TRUST_FILE_BYTES).unwrap();
        let mut large = chain[0].der().to_vec();
        large.resize(limit, b' ');
        assert!(matches!(anchors(&large), Err(BadBundle::Der { .. })));
        large.push(b' ');
        assert_eq!(anchors(&large), Err(BadBundle::TooLarge(limit + 1)));
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        let limit = usize::try_from(limits::TRUST_FILE_BYTES).unwrap();
        let mut bundle = pem("CERTIFICATE", &certificate(2)).into_bytes();
        bundle.resize(limit, b' ');
        assert!(anchors_from_pem(&bundle).is_ok());
        bundle.push(b' ');
        assert_eq!(anchors_from_pem(&bundle), Err(BadBundle::TooLarge(limit + 1)));
    }
}
