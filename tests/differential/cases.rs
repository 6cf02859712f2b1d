//! The product of everything that a signature and a trust policy may be: each case one choice of every kind, made into
//! a question, and what notation is expected to say of it. That the expectation holds shows that what is meant to be
//! good is good, and that what is meant to be bad is bad for the reason that is meant.

use serde_json::json;

use super::array::{Cell, Column, Plan, Random, Row, cells};
use super::authorities::{Issuer, authorities, serials};
use super::certificates::{Template, lists, responders};
use super::clock::{DAY, days};
use super::envelopes::{Draft, Format, Scheme, Stamping as MakeStamp};
use super::keys::{Key, Kind};
use super::oracle::{Expected, Part};
use super::reviewed::Condition;
use super::tokens::{Stamper, Token};
use super::trials::{Attached, Question, SCOPE, Statement, StoreType, image};

/// A kind of choice. What is flawed is so marked.
const FLAW: bool = true;

macro_rules! choices {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident $(= $flaw:ident)?),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $value),+ }

        impl Choice for $name {
            const ALL: &'static [(Self, bool)] = &[$((Self::$value, false $(|| $flaw)?)),+];
        }
    };
}

trait Choice: Copy + std::fmt::Debug + PartialEq + 'static {
    /// All values, and whether each is flawed.
    const ALL: &'static [(Self, bool)];

    fn column(name: &'static str) -> Column {
        Column {
            name,
            values: Self::ALL.iter().map(|(value, _)| format!("{value:?}")).collect(),
            flawed: Self::ALL.iter().map(|(_, flawed)| *flawed).collect(),
        }
    }

    fn number(self) -> usize {
        Self::ALL.iter().position(|(value, _)| *value == self).unwrap()
    }
}

impl Choice for Kind {
    const ALL: &'static [(Self, bool)] = &[
        (Self::Rsa2048, false),
        (Self::Rsa3072, false),
        (Self::Rsa4096, false),
        (Self::P256, false),
        (Self::P384, false),
        (Self::P521, false),
    ];
}

impl Choice for Format {
    const ALL: &'static [(Self, bool)] = &[(Self::Jws, false), (Self::Cose, false)];
}

impl Choice for Scheme {
    const ALL: &'static [(Self, bool)] = &[(Self::X509, false), (Self::SigningAuthority, false)];
}

choices! {
    /// How many certificates.
    Depth { One, Two, Three, Four }
}
choices! {
    /// When the signature ends.
    Expiry { None, Future, Past = FLAW }
}
choices! {
    /// The timestamp.
    Stamp {
        None, Good,
        /// By a root of the right name and another key.
        Stranger = FLAW,
        OtherSignature = FLAW, Before = FLAW, After = FLAW,
        /// Its moment is good, and its accuracy reaches over the end.
        Edge = FLAW,
        /// It does not name its certificate.
        Nameless = FLAW,
        Garbage = FLAW,
    }
}
choices! {
    /// What the trust policy says of timestamps: whether it names a store for them, and when they are asked for.
    Stamping { Off, OffAfterCertExpiry, Default, Always, AfterCertExpiry }
}
choices! {
    /// Whether certificates are valid now.
    Validity { Now, LeafExpired = FLAW, IssuerExpired = FLAW, LeafToCome = FLAW }
}
choices! {
    /// What the leaf's issuer says of it, and how one can ask.
    Revocation {
        Unsaid, OcspGood, OcspRevoked = FLAW, OcspHold = FLAW, OcspUnknown = FLAW, OcspDown = FLAW,
        OcspAstrayBefore = FLAW, OcspAstrayAfter = FLAW, OcspSecondGood, OcspSecondRevoked = FLAW, OcspHttps = FLAW,
        ListGood, ListRevoked = FLAW, ListHold = FLAW, ListExpired = FLAW, ListForged = FLAW, ListDown = FLAW,
        ListAstrayBefore = FLAW, ListAstrayAfter = FLAW, ListSecondGood = FLAW, ListTwo, ListHttps = FLAW,
        DeltaGood, DeltaRevoked = FLAW, DeltaReleased,
        BothGood, DownThenListGood, DownThenListRevoked = FLAW, UnknownThenListGood, BothDown = FLAW,
    }
}
choices! {
    /// What is said of the leaf's issuer, where that is no root.
    Above { Unsaid, Good, Revoked = FLAW, Down = FLAW }
}
choices! {
    /// What is said of the timestamp authority.
    TimeRevocation { Unsaid, Good, Revoked = FLAW, Down = FLAW }
}
choices! {
    /// Who is trusted.
    Identity {
        Star, Full, Part, OtherOrder, OneOfTwo, Other = FLAW,
        /// One attribute more than the signer has.
        More = FLAW,
        /// The signer has an attribute twice.
        Twice = FLAW,
    }
}
choices! {
    /// The level.
    Level { Strict, Permissive, Audit, Skip }
}
choices! {
    /// What differs from the level.
    Override { None, AuthenticityLog, TimestampLog, ExpiryLog, RevocationLog, RevocationSkip, AllEnforce, AllLog }
}
choices! {
    /// What the trust store has.
    Anchor {
        Root, Among, Intermediate, BothTypes, OtherRoot = FLAW, OtherType = FLAW,
        /// The signer's own certificate, which is no root.
        Leaf = FLAW,
    }
}
choices! {
    /// What the signature must state.
    Metadata { None, Stated, Different = FLAW, Unstated = FLAW }
}

macro_rules! case {
    ($($field:ident: $kind:ty),+ $(,)?) => {
        /// One choice of each kind.
        #[derive(Clone, Debug)]
        pub struct Case { $(pub $field: $kind),+ }

        impl Case {
            fn columns() -> Vec<Column> {
                vec![$(<$kind as Choice>::column(stringify!($field))),+]
            }

            fn of(row: &Row) -> Self {
                let mut values = row.iter();
                Self { $($field: <$kind as Choice>::ALL[*values.next().unwrap()].0),+ }
            }

            /// The choices in words.
            pub fn name(&self) -> String {
                let values = [$(format!("{} {:?}", stringify!($field), self.$field)),+];
                values.join(", ")
            }
        }
    };
}

case! {
    key: Kind,
    format: Format,
    scheme: Scheme,
    depth: Depth,
    expiry: Expiry,
    stamp: Stamp,
    stamping: Stamping,
    validity: Validity,
    revocation: Revocation,
    above: Above,
    time_revocation: TimeRevocation,
    identity: Identity,
    level: Level,
    overrides: Override,
    anchor: Anchor,
    metadata: Metadata,
}

fn column(columns: &[Column], name: &str) -> usize {
    columns.iter().position(|column| column.name == name).unwrap()
}

/// Cases in which every pair of choices occurs, every flaw under every level with every override, and every flaw in
/// every form of a signature.
pub fn pairs(random: &mut Random) -> Vec<Case> {
    let columns = Case::columns();
    let at = |name: &str| column(&columns, name);
    let [level, overrides] = ["level", "overrides"].map(at);
    let mut wanted = Vec::new();
    for (place, of) in columns.iter().enumerate() {
        for flaw in cells(place, of).filter(|(_, value)| of.flawed[*value]) {
            for level in cells(level, &columns[level]).filter(|(_, value)| *value != Level::Skip.number()) {
                wanted.extend(cells(overrides, &columns[overrides]).map(|overrides| vec![flaw, level, overrides]));
            }
        }
    }
    // Where a timestamp tells that it was signed before the key went astray.
    for revocation in [Revocation::OcspAstrayAfter, Revocation::ListAstrayAfter] {
        let cells = [
            (at("revocation"), revocation.number()),
            (at("scheme"), Scheme::X509.number()),
            (at("stamp"), Stamp::Good.number()),
            (at("stamping"), Stamping::Always.number()),
            (at("depth"), Depth::Three.number()),
            (at("level"), Level::Strict.number()),
            (at("overrides"), Override::None.number()),
            (at("expiry"), Expiry::None.number()),
            (at("validity"), Validity::Now.number()),
            (at("above"), Above::Unsaid.number()),
            (at("time_revocation"), TimeRevocation::Good.number()),
            (at("identity"), Identity::Star.number()),
            (at("anchor"), Anchor::Root.number()),
            (at("metadata"), Metadata::None.number()),
        ];
        wanted.push(cells.to_vec());
    }
    random.shuffle(&mut wanted);
    rows(&columns, wanted, 2, |plan| plan.rows(random))
}

/// The whole product of the forms of a signature (key, envelope, scheme, depth) with every choice of every other kind,
/// all else sound.
pub fn complete(random: &mut Random) -> Vec<Case> {
    let columns = Case::columns();
    let at = |name: &str| column(&columns, name);
    let mut wanted: Vec<Vec<Cell>> = vec![Vec::new()];
    let forms = ["key", "format", "scheme", "depth"].map(at);
    for form in forms {
        wanted = wanted
            .iter()
            .flat_map(|chosen| cells(form, &columns[form]).map(|cell| [chosen.clone(), vec![cell]].concat()))
            .collect();
    }
    let others: Vec<Cell> = (0..columns.len())
        .filter(|place| !forms.contains(place))
        .flat_map(|place| cells(place, &columns[place]))
        .collect();
    let wanted =
        wanted.iter().flat_map(|form| others.iter().map(|cell| [form.clone(), vec![*cell]].concat())).collect();
    rows(&columns, wanted, 1, |plan| plan.each(random))
}

fn rows(
    columns: &[Column],
    wanted: Vec<Vec<Cell>>,
    flaws: usize,
    make: impl FnOnce(&Plan<'_>) -> Vec<Row>,
) -> Vec<Case> {
    let at = |name: &str| column(columns, name);
    let [scheme, depth, stamp, stamping, level, overrides] =
        ["scheme", "depth", "stamp", "stamping", "level", "overrides"].map(at);
    let [revocation, above, time_revocation] = ["revocation", "above", "time_revocation"].map(at);
    let is_flawed = |(place, value): Cell| columns[place].flawed[value];
    let needs = |cell: Cell| match cell.0 {
        place if !is_flawed(cell) => {
            // A moment that is good is there to be looked at.
            if place == stamp && cell.1 == Stamp::Good.number() {
                vec![(scheme, Scheme::X509.number()), (stamping, Stamping::Always.number())]
            } else {
                Vec::new()
            }
        }
        place if place == stamp => vec![(scheme, Scheme::X509.number()), (stamping, Stamping::Default.number())],
        place if place == time_revocation => {
            vec![(scheme, Scheme::X509.number()), (stamping, Stamping::Always.number()), (stamp, Stamp::Good.number())]
        }
        place if place == above => vec![(depth, Depth::Three.number())],
        place if place == revocation => vec![(depth, Depth::Two.number())],
        _ => Vec::new(),
    };
    // "A skip level cannot be customized."
    let custom_skip = |one: Cell, other: Cell| {
        one == (level, Level::Skip.number()) && other.0 == overrides && other.1 != Override::None.number()
    };
    let forbidden = |one: Cell, other: Cell| custom_skip(one, other) || custom_skip(other, one);
    let wanted = wanted
        .into_iter()
        .filter(|cells| !cells.iter().any(|one| cells.iter().any(|other| forbidden(*one, *other))))
        .collect();
    let plan = Plan { columns, wanted, needs: &needs, forbidden: &forbidden, flaws };
    make(&plan).iter().map(Case::of).collect()
}

/// When everything was signed.
pub const SIGNED: i64 = -20;

const SUBJECT: &str = "CN=signer,OU=build,O=acme\\, Inc.,L=Seattle,ST=WA,C=US";

impl Case {
    /// The question that it comes to.
    pub fn question(&self) -> Question {
        let chain = self.chain();
        let mut target = image();
        target["annotations"] = json!({ "stage": "release", "build": "7" });
        let draft = Draft {
            key: Key::get(self.key, 0),
            scheme: self.scheme,
            signing_time: days(SIGNED),
            expiry: match self.expiry {
                Expiry::None => None,
                Expiry::Future => Some(days(10)),
                Expiry::Past => Some(days(-1)),
            },
            payload: json!({ "targetArtifact": target }).to_string().into_bytes(),
            chain: chain.iter().map(|(_, der)| der.clone()).collect(),
        };
        let stamp = |signature: &[u8]| self.token(signature);
        let stamp: Option<MakeStamp<'_>> = if self.stamp == Stamp::None { None } else { Some(&stamp) };
        let envelope = draft.sign(self.format, stamp);
        let signatures = vec![Attached::new(self.format.media_type(), envelope)];
        Question {
            conditions: self.conditions(),
            metadata: match self.metadata {
                Metadata::None => Vec::new(),
                Metadata::Stated => vec![("build".to_owned(), "7".to_owned())],
                Metadata::Different => {
                    vec![("stage".to_owned(), "release".to_owned()), ("build".to_owned(), "8".to_owned())]
                }
                Metadata::Unstated => vec![("approved".to_owned(), "yes".to_owned())],
            },
            ..Question::new(self.name(), signatures, self.statement(&draft.chain), self.expected())
        }
    }

    fn length(&self) -> usize {
        self.depth.number() + 1
    }

    /// From when to when a certificate is valid: the leaf, or its issuer.
    fn validity(&self, is_leaf: bool) -> (u64, u64) {
        match (self.validity, is_leaf) {
            (Validity::LeafExpired, true) | (Validity::IssuerExpired, false) => (days(-100), days(-10)),
            (Validity::LeafToCome, true) => (days(10), days(100)),
            _ => (days(-100), days(100)),
        }
    }

    /// The windows in which all of the chain is valid.
    fn window(&self) -> (u64, u64) {
        let issuer = if self.length() > 1 { self.validity(false) } else { (0, u64::MAX) };
        let leaf = self.validity(true);
        (leaf.0.max(issuer.0), leaf.1.min(issuer.1))
    }

    /// The certificates with their templates, leaf first.
    fn chain(&self) -> Vec<(Template, Vec<u8>)> {
        let authorities = authorities();
        let issuer = authorities.issuer(self.key.issuer());
        let (middle, root) = (&authorities.middle, &authorities.root);
        let long = (days(-200), days(200));
        let subject = if self.identity == Identity::Twice {
            SUBJECT.replace("OU=build", "OU=build,OU=test")
        } else {
            SUBJECT.to_owned()
        };
        let key = Key::get(self.key, 0);
        let made = |template: Template, subject: &Key, issuer: &Key| {
            let der = template.sign(subject, issuer);
            (template, der)
        };
        let leaf = |name: &str| self.revocable(Template::leaf(&subject, name, self.validity(true)), issuer);
        if self.depth == Depth::One {
            return vec![made(leaf(&subject), key, key)];
        }
        let ca = |one: &Issuer, over: &Issuer| Template::ca(&one.name, &over.name, long);
        let above = |template: Template, over: &Issuer| {
            self.above(
                Template { not_before: self.validity(false).0, not_after: self.validity(false).1, ..template },
                over,
            )
        };
        let mut chain = vec![made(leaf(&issuer.name), key, issuer.key)];
        match self.depth {
            Depth::One => unreachable!(),
            Depth::Two => {
                let template = Template::ca(&issuer.name, &issuer.name, self.validity(false));
                chain.push(made(template, issuer.key, issuer.key));
            }
            Depth::Three => {
                chain.push(made(above(ca(issuer, root), root), issuer.key, root.key));
                chain.push(made(ca(root, root), root.key, root.key));
            }
            Depth::Four => {
                chain.push(made(above(ca(issuer, middle), middle), issuer.key, middle.key));
                chain.push(made(ca(middle, root), middle.key, root.key));
                chain.push(made(ca(root, root), root.key, root.key));
            }
        }
        chain
    }

    /// A leaf that tells how one can ask about it.
    fn revocable(&self, template: Template, issuer: &Issuer) -> Template {
        let nowhere = authorities().nowhere();
        let https = |url: &str| url.replace("http:", "https:");
        let (ocsp, list) = (issuer.responder.clone(), |name: &str| issuer.list(name));
        let (serial, ask, look) = match self.revocation {
            Revocation::Unsaid => (serials::REVOKED, vec![], vec![]),
            Revocation::OcspGood => (serials::GOOD, vec![ocsp], vec![]),
            Revocation::OcspRevoked => (serials::REVOKED, vec![ocsp], vec![]),
            Revocation::OcspHold => (serials::HOLD, vec![ocsp], vec![]),
            Revocation::OcspUnknown => (serials::UNKNOWN, vec![ocsp], vec![]),
            Revocation::OcspDown => (serials::GOOD, vec![nowhere], vec![]),
            Revocation::OcspAstrayBefore => (serials::ASTRAY_BEFORE, vec![ocsp], vec![]),
            Revocation::OcspAstrayAfter => (serials::ASTRAY_AFTER, vec![ocsp], vec![]),
            Revocation::OcspSecondGood => (serials::GOOD, vec![nowhere, ocsp], vec![]),
            Revocation::OcspSecondRevoked => (serials::REVOKED, vec![nowhere, ocsp], vec![]),
            Revocation::OcspHttps => (serials::GOOD, vec![https(&ocsp)], vec![]),
            Revocation::ListGood => (serials::GOOD, vec![], vec![list("base")]),
            Revocation::ListRevoked => (serials::REVOKED, vec![], vec![list("base")]),
            Revocation::ListHold => (serials::HOLD, vec![], vec![list("base")]),
            Revocation::ListExpired => (serials::GOOD, vec![], vec![list("expired")]),
            Revocation::ListForged => (serials::GOOD, vec![], vec![list("forged")]),
            Revocation::ListDown => (serials::GOOD, vec![], vec![nowhere]),
            Revocation::ListAstrayBefore => (serials::ASTRAY_BEFORE, vec![], vec![list("base")]),
            Revocation::ListAstrayAfter => (serials::ASTRAY_AFTER, vec![], vec![list("base")]),
            Revocation::ListSecondGood => (serials::GOOD, vec![], vec![nowhere, list("base")]),
            Revocation::ListTwo => (serials::GOOD, vec![], vec![list("base"), list("fresh")]),
            Revocation::ListHttps => (serials::GOOD, vec![], vec![https(&list("base"))]),
            Revocation::DeltaGood => (serials::GOOD, vec![], vec![list("fresh")]),
            Revocation::DeltaRevoked => (serials::REVOKED_SINCE, vec![], vec![list("fresh")]),
            Revocation::DeltaReleased => (serials::RELEASED, vec![], vec![list("fresh")]),
            Revocation::BothGood => (serials::GOOD, vec![ocsp], vec![list("base")]),
            Revocation::DownThenListGood => (serials::GOOD, vec![nowhere], vec![list("base")]),
            Revocation::DownThenListRevoked => (serials::REVOKED, vec![nowhere], vec![list("base")]),
            Revocation::UnknownThenListGood => (serials::UNKNOWN, vec![ocsp], vec![list("base")]),
            Revocation::BothDown => (serials::GOOD, vec![nowhere.clone()], vec![nowhere]),
        };
        named(Template { serial, ..template }, &ask, &look)
    }

    fn above(&self, template: Template, over: &Issuer) -> Template {
        let base = vec![over.list("base")];
        let (serial, look) = match self.above {
            Above::Unsaid => (serials::REVOKED, vec![]),
            Above::Good => (serials::GOOD, base),
            Above::Revoked => (serials::REVOKED, base),
            Above::Down => (serials::GOOD, vec![authorities().nowhere()]),
        };
        named(Template { serial, ..template }, &[], &look)
    }

    /// The moment of the timestamp and how exact it is.
    fn stamped(&self) -> (u64, Option<u8>) {
        let (from, to) = self.window();
        match self.stamp {
            Stamp::Before => (from - DAY, None),
            Stamp::After => (to + DAY, None),
            Stamp::Edge => (to - 2, Some(5)),
            _ => (days(SIGNED), Some(1)),
        }
    }

    fn token(&self, signature: &[u8]) -> Vec<u8> {
        let authority = &authorities().time;
        let (serial, ask) = match self.time_revocation {
            TimeRevocation::Unsaid => (serials::REVOKED, vec![]),
            TimeRevocation::Good => (serials::GOOD, vec![authority.responder.clone()]),
            TimeRevocation::Revoked => (serials::REVOKED, vec![authority.responder.clone()]),
            TimeRevocation::Down => (serials::GOOD, vec![authorities().nowhere()]),
        };
        let stamper = match self.stamp {
            Stamp::Stranger => Stamper::stranger(),
            // All kinds of keys stamp.
            _ => Stamper::of(self.key.issuer().issuer(), |template| named(Template { serial, ..template }, &ask, &[])),
        };
        let (at, accuracy) = self.stamped();
        let token = Token { accuracy, names_certificate: self.stamp != Stamp::Nameless, ..Token::at(at) };
        match self.stamp {
            Stamp::Garbage => b"no token".to_vec(),
            Stamp::OtherSignature => token.over(&[signature, b"."].concat(), &stamper),
            _ => token.over(signature, &stamper),
        }
    }

    fn statement(&self, chain: &[Vec<u8>]) -> Statement {
        let (root, leaf) = (chain[chain.len() - 1].clone(), chain[0].clone());
        let other =
            Template::ca("CN=other root,O=acme,ST=WA,C=US", "CN=other root,O=acme,ST=WA,C=US", (days(-9), days(9)));
        let key = Key::get(Kind::P256, 2);
        let other = other.sign(key, key);
        let (own, foreign) = match self.scheme {
            Scheme::X509 => (StoreType::Ca, StoreType::SigningAuthority),
            Scheme::SigningAuthority => (StoreType::SigningAuthority, StoreType::Ca),
        };
        let store = |kind: StoreType, name: &str, certificates: Vec<Vec<u8>>| (kind, name.to_owned(), certificates);
        let mut stores = match self.anchor {
            Anchor::Root => vec![store(own, "acme", vec![root])],
            Anchor::Among => vec![store(own, "others", vec![other.clone()]), store(own, "acme", vec![other, root])],
            Anchor::Intermediate if chain.len() > 2 => vec![store(own, "acme", vec![chain[1].clone()])],
            Anchor::Intermediate => vec![store(own, "acme", vec![root])],
            Anchor::BothTypes => vec![store(foreign, "acme", vec![other]), store(own, "acme", vec![root])],
            Anchor::OtherRoot => vec![store(own, "acme", vec![other])],
            Anchor::OtherType => vec![store(foreign, "acme", vec![root])],
            Anchor::Leaf => vec![store(own, "acme", vec![leaf])],
        };
        if self.names_time() {
            stores.push(store(StoreType::Tsa, "time", vec![Stamper::root()]));
        }
        Statement {
            scopes: vec![SCOPE.to_owned()],
            level: format!("{:?}", self.level).to_lowercase(),
            overrides: self
                .overrides()
                .into_iter()
                .map(|(name, action)| (name.to_owned(), action.to_owned()))
                .collect(),
            verify_timestamp: match self.stamping {
                Stamping::Off | Stamping::Default => None,
                Stamping::Always => Some("always".to_owned()),
                Stamping::AfterCertExpiry | Stamping::OffAfterCertExpiry => Some("afterCertExpiry".to_owned()),
            },
            stores,
            identities: self.identities().into_iter().map(str::to_owned).collect(),
        }
    }

    fn names_time(&self) -> bool {
        !matches!(self.stamping, Stamping::Off | Stamping::OffAfterCertExpiry)
    }

    fn identities(&self) -> Vec<&'static str> {
        match self.identity {
            Identity::Star => vec!["*"],
            Identity::Full => vec!["x509.subject: C=US, ST=WA, L=Seattle, O=acme\\, Inc., OU=build, CN=signer"],
            Identity::Part | Identity::Twice => vec!["x509.subject: C=US, ST=WA, O=acme\\, Inc."],
            Identity::OtherOrder => vec!["x509.subject:CN=signer,O=acme\\, Inc.,S=WA,C=US"],
            Identity::OneOfTwo => {
                vec!["x509.subject: C=US, ST=WA, O=nobody", "x509.subject: C=US, ST=WA, O=acme\\, Inc., OU=build"]
            }
            Identity::Other => vec!["x509.subject: C=US, ST=WA, O=nobody"],
            Identity::More => vec!["x509.subject: C=US, ST=WA, O=acme\\, Inc., STREET=Main"],
        }
    }

    fn overrides(&self) -> Vec<(&'static str, &'static str)> {
        let all = |action| ["authenticity", "authenticTimestamp", "expiry", "revocation"].map(|name| (name, action));
        match self.overrides {
            Override::None => vec![],
            Override::AuthenticityLog => vec![("authenticity", "log")],
            Override::TimestampLog => vec![("authenticTimestamp", "log")],
            Override::ExpiryLog => vec![("expiry", "log")],
            Override::RevocationLog => vec![("revocation", "log")],
            Override::RevocationSkip => vec![("revocation", "skip")],
            Override::AllEnforce => all("enforce").to_vec(),
            Override::AllLog => all("log").to_vec(),
        }
    }
}

fn named(template: Template, ask: &[String], look: &[String]) -> Template {
    let template = if ask.is_empty() { template } else { template.with(responders(ask)) };
    if look.is_empty() { template } else { template.with(lists(look)) }
}

impl Case {
    /// What notation is expected to say: parts in its order, by the actions of the level.
    fn expected(&self) -> Expected {
        if self.level == Level::Skip {
            return Expected::allow();
        }
        let fails = [
            (Part::Authenticity, !self.is_anchored()),
            (Part::Identity, matches!(self.identity, Identity::Other | Identity::More | Identity::Twice)),
            (Part::Expiry, self.expiry == Expiry::Past),
            (Part::Timestamp, !self.is_timely()),
            (Part::Revocation, !self.stands()),
            (Part::Metadata, matches!(self.metadata, Metadata::Different | Metadata::Unstated)),
        ];
        let fails: Vec<Part> = fails.into_iter().filter(|(_, fails)| *fails).map(|(part, _)| part).collect();
        let by = |action: &str| fails.iter().copied().filter(|part| self.action(*part) == action).collect::<Vec<_>>();
        let enforced = by("enforce");
        // Of an authority that was taken back either may be told.
        let or = if self.time_revocation == TimeRevocation::Revoked && enforced.contains(&Part::Timestamp) {
            Some(Part::Revocation)
        } else {
            None
        };
        match enforced.first() {
            Some(part) => Expected { reasons: enforced.iter().copied().chain(or).collect(), ..Expected::deny(*part) },
            None => {
                let word = |part| if part == Part::Identity { Part::Authenticity } else { part };
                Expected { logged: by("log").into_iter().map(word).collect(), ..Expected::allow() }
            }
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let is_logged = |part| self.action(part) == "log" && self.level != Level::Skip;
        let asks = self.depth != Depth::One && self.revocation != Revocation::Unsaid;
        let asks_above = self.length() > 2 && self.above != Above::Unsaid;
        let is_stamped = self.is_stamp_asked() && self.is_timely();
        let astray = matches!(self.revocation, Revocation::OcspAstrayAfter | Revocation::ListAstrayAfter);
        let all = [
            (
                Condition::PinnedLeaf,
                !self.is_anchored() && self.anchor == Anchor::Leaf && is_logged(Part::Authenticity),
            ),
            (Condition::NobodyToAsk, !self.is_anchored() && is_logged(Part::Authenticity) && (asks || asks_above)),
            (Condition::SecondList, self.revocation == Revocation::ListSecondGood),
            (Condition::AstrayAfterStamp, astray && is_stamped),
        ];
        all.into_iter().filter(|(_, holds)| *holds).map(|(condition, _)| condition).collect()
    }

    fn action(&self, part: Part) -> &'static str {
        let (name, permissive) = match part {
            Part::Authenticity | Part::Identity => ("authenticity", "enforce"),
            Part::Expiry => ("expiry", "log"),
            Part::Timestamp => ("authenticTimestamp", "log"),
            Part::Revocation => ("revocation", "log"),
            _ => return "enforce",
        };
        let own = self.overrides().into_iter().find(|(other, _)| *other == name);
        own.map_or(
            match self.level {
                Level::Strict => "enforce",
                Level::Permissive => permissive,
                Level::Audit => "log",
                Level::Skip => "skip",
            },
            |(_, action)| action,
        )
    }

    fn is_anchored(&self) -> bool {
        match self.anchor {
            Anchor::Root | Anchor::Among | Anchor::Intermediate | Anchor::BothTypes => true,
            Anchor::OtherRoot | Anchor::OtherType => false,
            // A signer that is its own root may be in a trust store.
            Anchor::Leaf => self.depth == Depth::One,
        }
    }

    /// Whether the timestamp is asked for.
    pub fn is_stamp_asked(&self) -> bool {
        let is_expired = self.window().1 < days(0);
        self.scheme == Scheme::X509 && self.names_time() && (self.stamping != Stamping::AfterCertExpiry || is_expired)
    }

    fn is_timely(&self) -> bool {
        let (from, to) = self.window();
        let within = |at: u64| from <= at && at <= to;
        if self.scheme == Scheme::SigningAuthority {
            return within(days(SIGNED));
        }
        if !self.is_stamp_asked() {
            return within(days(0));
        }
        let (at, accuracy) = self.stamped();
        let accuracy = u64::from(accuracy.unwrap_or(0));
        let is_good = matches!(self.stamp, Stamp::Good | Stamp::Before | Stamp::After | Stamp::Edge);
        let stands = matches!(self.time_revocation, TimeRevocation::Unsaid | TimeRevocation::Good);
        is_good && stands && within(at - accuracy) && within(at + accuracy)
    }

    fn stands(&self) -> bool {
        let above = self.length() < 3 || matches!(self.above, Above::Unsaid | Above::Good);
        // Nobody is asked about a root.
        above && (self.depth == Depth::One || self.leaf_stands())
    }

    fn leaf_stands(&self) -> bool {
        match self.revocation {
            Revocation::Unsaid
            | Revocation::OcspGood
            | Revocation::OcspSecondGood
            | Revocation::ListGood
            | Revocation::ListTwo
            | Revocation::DeltaGood
            | Revocation::DeltaReleased
            | Revocation::BothGood
            | Revocation::DownThenListGood
            | Revocation::UnknownThenListGood => true,
            // The moment of a signing authority tells that it was signed before; notation asks no timestamp for that.
            Revocation::OcspAstrayAfter | Revocation::ListAstrayAfter => self.scheme == Scheme::SigningAuthority,
            Revocation::OcspRevoked
            | Revocation::OcspHold
            | Revocation::OcspUnknown
            | Revocation::OcspDown
            | Revocation::OcspAstrayBefore
            | Revocation::OcspSecondRevoked
            | Revocation::OcspHttps
            | Revocation::ListRevoked
            | Revocation::ListHold
            | Revocation::ListExpired
            | Revocation::ListForged
            | Revocation::ListDown
            | Revocation::ListAstrayBefore
            | Revocation::ListSecondGood
            | Revocation::ListHttps
            | Revocation::DeltaRevoked
            | Revocation::DownThenListRevoked
            | Revocation::BothDown => false,
        }
    }
}
