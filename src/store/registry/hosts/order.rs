//! In which order a hosts.toml names its hosts: containerd goes by the headers of tables, `[host."URL"]`, and so sees
//! neither hosts that are written in another way nor that one is written twice. Called before the file is read as a
//! whole, so it holds the nesting to its bound too.

use std::borrow::Cow;

use toml_parser::decoder::Encoding;
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, Raw, Source, Span};

use crate::limits;

/// The hosts of a file in their order. One whose tables stand apart, with another's between them, is there again.
///
/// # Errors
/// The file nests too deep, or names too many hosts. What else is wrong with it is left to whoever reads it.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let source = Source::new(text);
    let mut order = Order { source, header: None, hosts: Vec::new(), keys: 0, depth: 0, is_too_deep: false };
    parse_document(&source.lex().into_vec(), &mut order, &mut ());
    if order.is_too_deep {
        return Err(format!("it nests deeper than {} levels", limits::HOSTS_DEPTH));
    }
    // With the server, which is asked last.
    if order.hosts.len() >= limits::HOSTS {
        return Err(format!("it names more than {} hosts", limits::HOSTS));
    }
    Ok(order.hosts)
}

struct Order<'a> {
    source: Source<'a>,
    /// The first keys of the header that is being read.
    header: Option<Vec<String>>,
    hosts: Vec<String>,
    /// Keys since the last one that had a value or ended a header: those of one dotted key.
    keys: usize,
    /// Arrays and braces that are open.
    depth: usize,
    is_too_deep: bool,
}

impl Order<'_> {
    fn open(&mut self) -> bool {
        self.keys = 0;
        self.depth = self.depth.saturating_add(1);
        self.is_too_deep |= self.depth > limits::HOSTS_DEPTH;
        !self.is_too_deep
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

impl EventReceiver for Order<'_> {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
        self.header = Some(Vec::new());
    }

    fn std_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
        let mut keys = self.header.take().unwrap_or_default().into_iter();
        let (first, host) = (keys.next(), keys.next());
        if first.as_deref() == Some("host") && self.hosts.last() != host.as_ref() {
            self.hosts.extend(host);
        }
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
    }

    fn array_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
    }

    fn inline_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open()
    }

    fn inline_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn array_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open()
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        self.keys = self.keys.saturating_add(1);
        self.is_too_deep |= self.keys > limits::HOSTS_DEPTH;
        if let Some(header) = self.header.as_mut().filter(|header| header.len() < 2) {
            let raw = self.source.input().get(span.start()..span.end()).unwrap_or_default();
            let mut key = Cow::Borrowed("");
            Raw::new_unchecked(raw, encoding, span).decode_key(&mut key, error);
            header.push(key.into_owned());
        }
    }

    fn key_val_sep(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
    }

    fn newline(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.keys = 0;
    }
}
