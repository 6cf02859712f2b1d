//! Proxies, as written in the file; for each key that it leaves out the environment counts.

use std::str::FromStr;

use crate::config::Place;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::proxy::{BadDirect, BadProxyUrl, Direct, Environment, Proxy, ProxyUrl};

/// The proxies of the whole daemon.
pub fn proxy(decoder: &mut Decoder<'_>, root: &mut Table<'_>) -> Option<Proxy> {
    let mut table = match root.optional("proxy") {
        Some(item) => Some(decoder.table(&item)?),
        None => None,
    };
    let at = |key| Place { path: format!("proxy.{key}"), ..root.place().clone() };
    let https = url(decoder, table.as_mut(), "https", &at("https"), Proxy::https);
    let http = url(decoder, table.as_mut(), "http", &at("http"), Proxy::http);
    let no = match table.as_mut().and_then(|table| table.optional("no")) {
        Some(item) => directs(decoder, &item),
        None => Some(Proxy::no(decoder.environment())),
    };
    if let Some(table) = table {
        decoder.finish(table);
    }
    Some(Proxy { https: https?, http: http?, no: no? })
}

/// A proxy, or none: that is what an empty text asks for, whatever the environment says.
fn url(
    decoder: &mut Decoder<'_>,
    table: Option<&mut Table<'_>>,
    key: &'static str,
    place: &Place,
    left_out: impl Fn(Environment<'_>) -> Result<Option<ProxyUrl>, String>,
) -> Option<Option<ProxyUrl>> {
    let Some(item) = table.and_then(|table| table.optional(key)) else {
        return left_out(decoder.environment())
            .map_err(|error| decoder.problems.push_with_hint(place, error, BadProxyUrl::HINT))
            .ok();
    };
    let text = decoder.string(&item)?;
    if text.is_empty() {
        return Some(None);
    }
    // The text is not repeated: it may hold a password.
    let read = ProxyUrl::from_str(&text);
    read.map_err(|error| decoder.problems.push_with_hint(&item.place(), error.to_string(), BadProxyUrl::HINT))
        .ok()
        .map(Some)
}

fn directs(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Direct>> {
    let mut directs = Vec::new();
    for item in decoder.array(item)? {
        let Some(text) = decoder.string(&item) else { continue };
        match text.parse() {
            Ok(direct) => directs.push(direct),
            Err(error) => {
                let message = format!("{} {error}", quote(&text));
                decoder.problems.push_with_hint(&item.place(), message, BadDirect::HINT);
            }
        }
    }
    Some(directs)
}
