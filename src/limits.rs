//! Every bound on what comes from outside, with its unit, its reason and its source.
//!
//! A number that limits bytes, counts, depth or time on a pull's path stands here and nowhere else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest image name, in bytes. A repository name may have 255 characters and a tag 128
/// (OCI distribution specification, "Pulling manifests"); a host and a sha512 digest fit into the rest.
pub const NAME_BYTES: usize = 640;

/// Longest path of a repository, in bytes (OCI distribution specification, "Pulling manifests": many clients take no
/// more).
pub const PATH_BYTES: usize = 255;

/// Longest tag, in bytes (OCI distribution specification, "Pulling manifests").
pub const TAG_BYTES: usize = 128;

/// Most bytes that the shim reads from stdin. containerd writes a descriptor of about 155 bytes.
pub const STDIN_BYTES: usize = 64 * 1024;

/// Longest reason line, in bytes, line feed included. containerd passes on at most 32 KiB; a line in an
/// event or an alert is useful while it is short.
pub const REASON_BYTES: usize = 1024;

/// Longest id of a verdict that is shown in a reason line, in bytes. Ours have 12; a daemon of another version is heard
/// too.
pub const ID_BYTES: usize = 64;

/// Largest manifest or index, in bytes (OCI distribution specification, "Pushing manifests": registries
/// should accept at least 4 MiB; the common ones accept no more).
pub const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Largest page of a list of referrers, in bytes: it is an image index.
pub const REFERRERS_PAGE_BYTES: u64 = MANIFEST_BYTES;

/// Most pages of one list of referrers. A list that goes on is cut short, and a cut list never allows.
pub const REFERRERS_PAGES: usize = 32;

/// Most referrers of one artifact. notation stops at 100 signatures by default; reports of nightly scans share the
/// list and may come to hundreds.
pub const REFERRERS: usize = 1000;

/// Most artifacts looked at for one pull, over all levels.
pub const ARTIFACTS: usize = 2000;

/// Deepest level of referrers of referrers. The image itself is level 0.
pub const DEPTH: usize = 8;

/// Most layers that a manifest may name.
pub const LAYERS: usize = 1024;

/// Largest blob that a store hands out, whatever its caller asks for, in bytes, unless `maxBlobBytes` asks for
/// less (Ratify v2's default).
pub const BLOB_BYTES: u64 = 32 * 1024 * 1024;

/// Largest signature envelope, in bytes. Real ones have 2 to 20 KiB; a certificate chain is most of it.
pub const ENVELOPE_BYTES: u64 = 1024 * 1024;

/// Most certificates in a signature's chain, or in a timestamp. Real ones have two to four.
pub const CHAIN_CERTIFICATES: usize = 16;

/// Largest X.509 certificate, in bytes of DER. Real ones have 1 to 4 KiB.
pub const CERTIFICATE_BYTES: usize = 16 * 1024;

/// Most elements of any one list in a certificate: attributes of a name, extensions. Sorting and comparing them
/// takes the square of their number; real certificates have about ten.
pub const CERTIFICATE_ELEMENTS: usize = 64;

/// Largest timestamp token, in bytes. Real ones have 1 to 8 KiB; certificates are most of it, and some authorities add
/// revocation lists.
pub const TIMESTAMP_BYTES: usize = 256 * 1024;

/// Most signed attributes of a timestamp, and most extensions. Real ones have four or five, and none.
pub const TIMESTAMP_ELEMENTS: usize = 64;

/// Most certificates that are put on the way from a signer or a timestamp authority to one that is trusted before it is
/// given up: those of a hostile signature can be put together in numberless ways. Real ones take one step for each of
/// three or four.
pub const PATH_STEPS: usize = 256;

/// Most chains that lead to a trusted certificate by their names and are then checked. Real signatures have one, or two
/// where roots have signed each other.
pub const PATH_CHAINS: usize = 8;

/// Largest Sigstore bundle, in bytes: what a store hands out at most. Those of signatures have 1 to 15 KiB; one with a bill
/// of materials has as much as that, and a third more for its base64.
pub const BUNDLE_BYTES: u64 = BLOB_BYTES;

/// Largest Sigstore bundle or envelope that is a signature, in bytes; larger ones hold attestations.
pub const SIGNATURE_BYTES: u64 = 1024 * 1024;

/// Content of more than so many bytes is large: there is room in memory for little of it at once. Evidence is hardly ever.
pub const LARGE_BYTES: u64 = 256 * 1024;

/// Most large manifests of referrers in memory at once, by all pulls together: 4 MiB each, and as much again once they are
/// read, where the service may have 1 GiB.
pub const LARGE_MANIFESTS: usize = 16;

/// Most large blobs in memory at once, by all pulls together: 32 MiB each.
pub const LARGE_BLOBS: usize = 6;

/// Most large attestations that are judged at once: each takes three times its size while it is.
pub const LARGE_JUDGED: usize = 2;

/// Most values of a Sigstore bundle in JSON, elements and members together. Real ones have some hundred.
pub const BUNDLE_VALUES: usize = 8192;

/// Largest file that a bundle is held against, in bytes: it is read as a whole. Larger ones are told by their digest.
pub const SIGNED_FILE_BYTES: u64 = 1024 * 1024 * 1024;

/// Most entries of transparency logs in a bundle (as sigstore-go). Real ones have one or two.
pub const LOG_ENTRIES: usize = 32;

/// Most timestamps in a bundle (as sigstore-go). Real ones have one or two.
pub const TIMESTAMPS: usize = 32;

/// Longest hint at a key in a bundle, in bytes. Real ones are a SHA-256 in base64 or hexadecimal digits.
pub const KEY_HINT_BYTES: usize = 512;

/// Longest identity, or pattern of one, in bytes: the longest text that the configuration may have.
pub const PATTERN_BYTES: usize = EXPANDED_BYTES;

/// Most memory of one compiled pattern, in bytes. Those that people write need some 10 KiB.
pub const PATTERN_COMPILED_BYTES: usize = 1024 * 1024;

/// How deep groups of a pattern may be nested.
pub const PATTERN_DEPTH: u32 = 50;

/// Most signatures of one image that a Cosign verifier judges, unless its configuration says otherwise. Those of older
/// forms pile up in one manifest each time an image is signed again.
pub const SIGNATURES: usize = 100;

/// Most signatures of one image that a Cosign verifier can be told to judge.
pub const SIGNATURES_MAX: usize = REFERRERS;

/// Largest simple signing payload, in bytes. Real ones have some 250.
pub const SIMPLE_SIGNING_BYTES: u64 = 64 * 1024;

/// Longest name of a key, in bytes. It is shown in reasons.
pub const KEY_NAME_BYTES: usize = 128;

/// How deep a CBOR item may be nested. A signature envelope needs three levels.
pub const CBOR_DEPTH: usize = 16;

/// Most items of one piece of CBOR, labels and members of lists and maps included. A signature envelope has about 30;
/// finding a label twice takes the square of their number.
pub const CBOR_ITEMS: usize = 1024;

/// Most values of one JSON document, members of objects and elements of lists together. The largest real manifests have a
/// few thousand. Each may take 640 bytes in memory, whatever it took as text.
pub const JSON_VALUES: usize = 65_536;

/// Longest text of a fault, a failure or a verdict's cause that is kept, in bytes: what others wrote is quoted in it.
pub const CAUSE_BYTES: usize = 1000;

/// Most bytes of reports kept for `ratifyctl explain`, as [`RECENT_VERDICTS`] bounds their number.
pub const RECENT_BYTES: usize = 16 * 1024 * 1024;

/// How long a connection to a registry that nobody uses is kept.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Most connections to one host that are kept while nobody uses them.
pub const IDLE_CONNECTIONS: usize = 4;

/// Largest configuration file, in bytes.
pub const CONFIG_BYTES: u64 = 1024 * 1024;

/// Most problems of one configuration that are kept: the first ones by place. Nobody mends more at once.
pub const CONFIG_PROBLEMS: usize = 100;

/// Deepest nesting of a configuration file, in tables and arrays. A policy of [`DEPTH`] levels needs 22.
pub const CONFIG_DEPTH: usize = 64;

/// Stack for reading a configuration file, in bytes. The deepest text that the TOML parser takes (80 headers, 80
/// braces and 80 dotted keys in each) was measured to need between 4 and 6 MiB without optimisation.
pub const CONFIG_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Longest string of the configuration after `${NAME}` was put in, in bytes: the longest path of Linux (`PATH_MAX`).
pub const EXPANDED_BYTES: usize = 4096;

/// Longest name of a verifier, in bytes. It stands in reason lines and reports.
pub const VERIFIER_NAME_BYTES: usize = 64;

/// Longest name of a key management provider, in bytes: in Ratify v1 a Kubernetes namespace (63), a slash and the name of
/// a resource (253).
pub const PROVIDER_NAME_BYTES: usize = 317;

/// Longest user agent, in bytes. It is sent with every request.
pub const USER_AGENT_BYTES: usize = 256;

/// Largest trust file (PEM bundle), in bytes. The whole Mozilla root programme fits into a quarter of it.
pub const TRUST_FILE_BYTES: u64 = 1024 * 1024;

/// Most logs, and most authorities, in one list of a `trusted_root.json`. The public ones name two to six.
pub const TRUSTED_ROOT_ENTRIES: usize = 128;

/// Largest body of an entry in a transparency log, in bytes. Real ones have 1 to 10 KiB, a certificate is most of it.
pub const LOG_BODY_BYTES: usize = 128 * 1024;

/// Most hashes of an inclusion proof: a tree of 2^64 entries has no more levels.
pub const LOG_PROOF_HASHES: usize = 64;

/// Largest checkpoint of a transparency log, in bytes. Real ones have some 250; witnesses add a line of 150 each.
pub const CHECKPOINT_BYTES: usize = 16 * 1024;

/// Most signatures of a checkpoint.
pub const CHECKPOINT_SIGNATURES: usize = 64;

/// Most signed certificate timestamps in a certificate. Fulcio's have one.
pub const SCTS: usize = 16;

/// Most entries of a folder with trusted certificates, what is passed over included. A root programme has some 150.
pub const TRUST_FOLDER_ENTRIES: usize = 512;

/// Most symbolic links followed to one trusted file (Linux, path_resolution(7): 40).
pub const TRUST_LINKS: usize = 40;

/// How often a trusted file that changes while it is read is read again before that is an error.
pub const TRUST_READS: usize = 3;

/// Most rules in one threshold policy, over all levels.
pub const POLICY_RULES: usize = 64;

/// Most steps of the search that assigns signers to the rules of nested groups. A policy within
/// [`POLICY_RULES`] as people write them takes a few dozen.
pub const POLICY_STEPS: usize = 4096;

/// Checks of one pull that are under way at once, unless `concurrency` says otherwise.
pub const CONCURRENCY: usize = 8;

/// Largest value of `concurrency`.
pub const CONCURRENCY_MAX: usize = 64;

/// Requests to one registry that are under way at once, over all pulls, so that one slow registry starves no other.
pub const REGISTRY_REQUESTS: usize = 32;

/// Most registries whose bound on requests is kept at once; the one longest unused goes first. Image names choose
/// the hosts, so their number is not ours.
pub const REGISTRIES: u64 = 256;

/// Largest hosts.toml, in bytes. Real ones have a few hundred.
pub const HOSTS_BYTES: u64 = 64 * 1024;

/// Most hosts that one hosts.toml may name, the registry itself included. Each is asked in turn while the pull waits.
pub const HOSTS: usize = 64;

/// Deepest nesting of a hosts.toml, counted for headers, dotted keys, arrays and braces each alone. What containerd
/// knows needs 3: `host`, a URL, `header`.
pub const HOSTS_DEPTH: usize = 8;

/// Largest file of certificates or keys that a connection to a registry needs, in bytes: as large as a trust file.
pub const TLS_FILE_BYTES: u64 = TRUST_FILE_BYTES;

/// Most such files of one host.
pub const TLS_FILES: usize = 64;

/// Most different warnings about hosts files that are kept, so that each is logged once; past it they begin anew.
pub const HOSTS_WARNINGS: usize = 1024;

/// Largest body of a refusal that is looked into for the registry's own words, in bytes. Docker Hub's have 200.
pub const REFUSAL_BYTES: u64 = 8 * 1024;

/// Most redirects followed for one request. Registries in front of a store of objects take one, registries in front
/// of registries two.
pub const REDIRECTS: usize = 3;

/// Most providers of credentials that one store asks. Nobody has more than three or four.
pub const CREDENTIAL_PROVIDERS: usize = 16;

/// Most hosts in one list of the configuration that says who may be shown a credential.
pub const CREDENTIAL_HOSTS: usize = 64;

/// Largest file with credentials or with the configuration of who provides them (docker's config.json, the kubelet's
/// CredentialProviderConfig), in bytes. A Kubernetes secret holds no more.
pub const CREDENTIAL_FILE_BYTES: u64 = 1024 * 1024;

/// Largest file with one password or token, in bytes. A Google service account's key has 2.4 KiB, a token of Azure 3.
pub const PASSWORD_FILE_BYTES: u64 = 64 * 1024;

/// Most bytes that a credential program may print. A kubelet's response for some dozen registries of Amazon has 40 KiB.
pub const PROGRAM_OUTPUT_BYTES: u64 = 256 * 1024;

/// How long a credential program may run. Like [`REQUEST_TIMEOUT`] below the shim's own deadline, so that the reason
/// names the program that hangs.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Most credential programs that one provider runs at once: image names choose the hosts that they are asked for.
pub const PROGRAMS: usize = 8;

/// Most answers of credential providers that are kept at once, and most questions; the one longest unused goes first.
pub const CREDENTIALS_KEPT: u64 = 1024;

/// How long the answer of a docker credential helper is kept: its protocol knows no lifetime, and the tokens that
/// helpers give live for an hour or more.
pub const HELPER_KEPT: Duration = Duration::from_secs(60);

/// Longest time that a credential is kept, whatever the one who gave it says: a day, as for remote trust.
pub const CREDENTIAL_KEPT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest executable of a plugin, in bytes: what `notation plugin install` takes (plugin extensibility specification,
/// "Package and release a plugin").
pub const PLUGIN_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Most entries of the folder of plugins. Nobody has more than a handful.
pub const PLUGIN_ENTRIES: usize = 256;

/// Longest name of a plugin, in bytes: with `notation-` before it, it is a file name (NAME_MAX, limits.h).
pub const PLUGIN_NAME_BYTES: usize = 246;

/// Most pairs of `pluginConfig`; each is at most [`EXPANDED_BYTES`] long.
pub const PLUGIN_CONFIG: usize = 64;

/// Longest name of a user, in bytes (useradd(8), systemd.exec(5)).
pub const USER_NAME_BYTES: usize = 31;

/// How long a plugin may run, unless configured: below the shim's own deadline, so that the reason names the plugin that
/// hangs.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that may be configured: no call has longer.
pub const PLUGIN_TIMEOUT_MAX: Duration = CALL_TIMEOUT;

/// Taken off the deadline of a pull, so that what a plugin did is told before the walk's own time is up.
pub const PLUGIN_MARGIN: Duration = Duration::from_millis(50);

/// Most plugins under way at once, those of all pulls together.
pub const PLUGINS: usize = 8;

/// Largest input of a plugin, in bytes: an envelope's certificates and attributes, in base64 again, and the trust policy.
pub const PLUGIN_INPUT_BYTES: u64 = 2 * ENVELOPE_BYTES + CONFIG_BYTES;

/// Most bytes that a plugin may print. Answers have some hundred; notation takes 64 MiB.
pub const PLUGIN_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Most bytes that a plugin may print whose answer is content: a store's blob.
pub const PLUGIN_OUTPUT_MAX: u64 = BLOB_BYTES;

/// Longest token by which a plugin that is a store names the next page of a list, in bytes. Registries' have some hundred,
/// and it must fit into [`RUNNER_HEAD_BYTES`] with the rest of the environment.
pub const STORE_TOKEN_BYTES: usize = 4 * 1024;

/// Most bytes that a plugin may write to stderr: an error is a line or two, logs may stand before it.
pub const PLUGIN_ERROR_BYTES: u64 = 64 * 1024;

/// Most memory that a process of a plugin may write to, in bytes (RLIMIT_DATA, getrlimit(2)), and that all of a confined
/// one's processes may hold.
pub const PLUGIN_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

/// Most files that a plugin may have open.
pub const PLUGIN_OPEN_FILES: u64 = 256;

/// How soon a plugin is started again whose file somebody is still writing.
pub const PLUGIN_BUSY: Duration = Duration::from_millis(50);

/// Largest file that a plugin may write, in bytes (RLIMIT_FSIZE).
pub const PLUGIN_WRITTEN_BYTES: u64 = 64 * 1024 * 1024;

/// How often it is looked at what a confined plugin takes, and how soon again whether all of it is gone.
pub const PLUGIN_WATCH: Duration = Duration::from_millis(100);

/// How long the last of a confined plugin may take to be gone after it was killed.
pub const PLUGIN_LAST: Duration = Duration::from_secs(2);

/// Most bytes of a confined plugin's files, those that were laid out and those that it has open and nobody can find any
/// more; a plugin keeps nothing, and caches little.
pub const PLUGIN_FOLDER_BYTES: u64 = 4 * PLUGIN_WRITTEN_BYTES;

/// Most files and folders in a confined plugin's folder.
pub const PLUGIN_FOLDER_ENTRIES: usize = 4096;

/// How often a confined plugin's folder is looked through anew at once, where something in it went away meanwhile.
pub const PLUGIN_FOLDER_LOOKS: usize = 16;

/// Most bytes of the list of what a process of a confined plugin has in its memory (proc_pid_maps(5)): some 10 000 lines.
/// Large runtimes have some hundred.
pub const PLUGIN_MAPS_BYTES: u64 = 1024 * 1024;

/// Most bytes of these lists of all processes of a confined plugin together, which are read at each look.
pub const PLUGIN_MAPS_BYTES_IN_ALL: u64 = 4 * PLUGIN_MAPS_BYTES;

/// Most open files of all processes and threads of a confined plugin.
pub const PLUGIN_OPEN_FILES_IN_ALL: usize = 16 * 1024;

/// Most processes and threads of a confined plugin. Runtimes start a thread for each processor.
pub const PLUGIN_PROCESSES: u64 = 256;

/// Most processes and threads of the user of plugins (RLIMIT_NPROC), whom all that are under way ([`PLUGINS`]) share.
pub const PLUGINS_PROCESSES: u64 = 8 * PLUGIN_PROCESSES;

/// Most files that are laid out for a plugin: a layout's own two, the referrer's manifest and its blobs, and a store's.
pub const SANDBOX_FILES: usize = 64;

/// Most bytes that are laid out for a plugin.
pub const SANDBOX_BYTES: u64 = 2 * BLOB_BYTES;

/// Largest program that is fetched, in bytes, unless configured; Ratify v1's own have 50 to 65 MB.
pub const PLUGIN_FETCH_BYTES: u64 = 128 * 1024 * 1024;

/// How long fetching a plugin may take, with all that is asked about it.
pub const PLUGIN_FETCH_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How often a plugin's tag is resolved again, unless configured.
pub const PLUGIN_REFRESH: Duration = Duration::from_secs(60 * 60);

/// The shortest and the longest time that may be configured for it.
pub const PLUGIN_REFRESH_RANGE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30 * 24 * 60 * 60)];

/// How long a plugin that was fetched runs on while its registry cannot be reached: for good, in a number.
pub const PLUGIN_KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Most platforms of a plugin.
pub const PLUGIN_PLATFORMS: usize = 64;

/// Largest configuration blob of a plugin's manifest, in bytes: it may say for which platform it is.
pub const PLUGIN_PLATFORM_BYTES: u64 = 64 * 1024;

/// Most digests that are kept of what a plugin's tag has named.
pub const PLUGIN_HISTORY: usize = 256;

/// Largest record of a fetched plugin, in bytes: its history, and some lines.
pub const PLUGIN_RECORD_BYTES: u64 = 64 * 1024;

/// How long a record of a plugin lies on disk that no configuration names any more.
pub const PLUGIN_UNUSED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a program lies on disk that no plugin names any more: longer than any pull that may still run it.
pub const PLUGIN_LEFT: Duration = Duration::from_secs(60 * 60);

/// Most artifact types that an executor lists for plugins.
pub const PLUGIN_TYPES: usize = 16;

/// Most bytes of what goes before input and output on the runner's socket: a path, arguments, a cause.
pub const RUNNER_HEAD_BYTES: u64 = 16 * 1024;

/// How long a request to the runner may take to come, and how much longer than the program the runner's answer.
pub const RUNNER_PATIENCE: Duration = Duration::from_millis(500);

/// Largest answer of a token service (Microsoft Entra, instance metadata, ACR's exchange), in bytes. Theirs have 2 to
/// 5 KiB.
pub const TOKEN_REPLY_BYTES: u64 = 64 * 1024;

/// Longest media type, in bytes: 127 for the type, 127 for the subtype, the slash between (RFC 6838, section 4.2).
pub const MEDIA_TYPE_BYTES: usize = 255;

/// Longest wait for a connection to a registry.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for one answer of a registry, body included. Below the shim's own deadline, so that the reason
/// names the request that hangs.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer it may take for each MiB that is known to come: 8 Mbit/s are enough.
pub const MEBIBYTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Taken off the deadline of what is asked of registries, so that what went wrong is heard before the walk's own time is
/// up.
pub const REQUEST_MARGIN: Duration = Duration::from_millis(25);

/// How often one request is made in all, where its failure may pass.
pub const REQUEST_TRIES: u32 = 4;

/// How long is waited before the second try, and twice as long before each one that follows; up to a half more, at
/// random.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Over which time requests to a host are counted for its budget of retries. Tower's budget takes 1 to 60 s.
pub const RETRY_BUDGET_TIME: Duration = Duration::from_secs(10);

/// Retries to a host that are always granted, each second.
pub const RETRY_BUDGET_PER_SECOND: u32 = 10;

/// Retries to a host that are granted besides, as a share of the requests that went well.
pub const RETRY_BUDGET_SHARE: f32 = 0.2;

/// How long a host is left alone that asks to be asked less and does not say for how long; twice as long each time it
/// says so again.
pub const THROTTLED_PAUSE: Duration = Duration::from_millis(500);

/// The longest that a host is left alone because it asks for it. Docker Hub's limits are by the hour, and a pull that
/// comes later deserves its own answer.
pub const THROTTLED_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What part of the requests at once is left to a host that asks to be asked less: a quarter.
pub const THROTTLED_SHARE: usize = 4;

/// Answers after which such a host gets one request more at once: about a second's worth where limits are low.
pub const THROTTLED_ANSWERS: usize = 16;

/// Failures in a row after which a host is asked by one request at a time.
pub const BREAKER_FAILURES: u32 = 8;

/// The same where another host can be asked instead.
pub const BREAKER_FAILURES_SPARE: u32 = 2;

/// How long such a host is not asked at first; twice as long after each try that fails.
pub const BREAKER_PAUSE: Duration = Duration::from_millis(500);

/// The longest of these pauses: a registry that is back should not be missed for long.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A request that had less time than this and got no answer tells nothing of its host: callers choose their deadlines.
pub const BREAKER_PATIENCE: Duration = Duration::from_millis(500);

/// How often those who wait look whether the one request went well.
pub const BREAKER_LOOK: Duration = Duration::from_millis(50);

/// Largest answer of a realm that gives tokens, in bytes. Tokens with many scopes have some 10 KiB.
pub const TOKEN_ANSWER_BYTES: u64 = 64 * 1024;

/// How long the first requests to a host wait for the very first of them, which tells what the host wants to see.
pub const FIRST_ANSWER: Duration = Duration::from_millis(250);

/// How long a token lives whose realm does not say so (distribution specification, "Token Authentication").
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// Longest time that a token is used, whatever its realm says.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(60 * 60);

/// Most repositories of one host of which it is kept what they want to see.
pub const TOKENS: u64 = 1024;

/// Most bytes of tokens kept for one host, with what they are for; there is one for each repository, of 1 to 4 KiB.
pub const TOKENS_BYTES: u64 = 512 * 1024;

/// Longest challenge that is answered, in bytes of realm, service and scope together. Real ones have 200.
pub const CHALLENGE_BYTES: usize = 4 * 1024;

/// Shortest text that counts as a secret where others repeat it, in bytes: shorter ones stand in any sentence.
pub const SECRET_BYTES: usize = 4;

/// Most bytes of scopes that one host has named for its repositories; the one longest unused goes first.
pub const SCOPES_BYTES: u64 = 64 * 1024;

/// Most ways of reaching one host that are kept at once: files of several registries may name it with other headers or
/// certificates.
pub const DOORS: usize = 4;

/// How long the hosts of a registry are known before their files are looked at again.
pub const HOSTS_LOOK: Duration = Duration::from_secs(1);

/// Most of the time that remains that is spent on a host while another can be asked instead: a half.
pub const SPARE_SHARE: u32 = 2;

/// The shim answers by then, counted from its start: containerd kills it after 10 s
/// (`per_verifier_timeout`) and loses what it said.
pub const SHIM_TIMEOUT: Duration = Duration::from_secs(8);

/// How often a question is asked whose connection breaks. With systemd's socket the second time waits for the next
/// daemon; a question that brings down each daemon must not do so for long.
pub const ASK_TRIES: u32 = 4;

/// How long is waited before the second time; [`ASK_PAUSE_GROWS`] times as long before each one that follows.
pub const ASK_PAUSE: Duration = Duration::from_millis(20);

/// See [`ASK_PAUSE`].
pub const ASK_PAUSE_GROWS: u32 = 5;

/// Longest deadline that the daemon grants a call, and the one of a call that names none.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Taken off a call's deadline, so that the answer is under way before the caller gives up.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Taken off the deadline of a walk, so that what it found is worded before those who wait give up.
pub const WALK_MARGIN: Duration = Duration::from_millis(50);

/// How long an allow is remembered, unless configured.
pub const REMEMBER_ALLOW: Duration = Duration::from_secs(5 * 60);

/// Longest time that an allow may be remembered: a day, as for remote trust. A root that was removed counts
/// at once in any case, because the generation changes.
pub const REMEMBER_ALLOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a deny is remembered, unless configured.
pub const REMEMBER_DENY: Duration = Duration::from_secs(10);

/// Longest time that a deny may be remembered: a signature pushed late should count soon.
pub const REMEMBER_DENY_MAX: Duration = Duration::from_secs(10 * 60);

/// How long a list of referrers is remembered: lists are not immutable.
pub const REMEMBER_REFERRERS: Duration = Duration::from_secs(10);

/// Longest time that a list of referrers may be remembered.
pub const REMEMBER_REFERRERS_MAX: Duration = Duration::from_secs(10 * 60);

/// Longest value of `staleReferrers`: a day, as for remote trust.
pub const STALE_REFERRERS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Taken off the deadline of asking for a list of referrers where the last known one could stand in, so that what it
/// names can still be read.
pub const STALE_MARGIN: Duration = Duration::from_secs(2);

/// Most referrers remembered, over all remembered lists; an empty list counts as one. The list longest unused goes
/// first. Some 8 MiB at the longest media types.
pub const REMEMBERED_REFERRERS: u64 = 16 * 1024;

/// Most bytes of manifests and blobs remembered at once; the one longest unused goes first. Signatures and their
/// manifests have 1 to 20 KiB.
pub const REMEMBERED_BYTES: u64 = 8 * 1024 * 1024;

/// Largest manifest or blob remembered, in bytes: a few large ones must not push out all signatures.
pub const REMEMBERED_ENTRY_BYTES: u64 = 256 * 1024;

/// Largest value of `cache.memory`, in bytes: a quarter of what the unit lets the daemon have.
pub const REMEMBERED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most bytes of manifests and blobs kept on disk, unless configured; the one longest unused goes first. Some thirty
/// thousand signatures.
pub const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// Largest value of `cache.disk`, in bytes.
pub const DISK_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Most files of content on disk: some 10 MiB of memory for their index.
pub const DISK_ENTRIES: usize = 65_536;

/// Largest manifest or blob kept on disk, in bytes.
pub const DISK_ENTRY_BYTES: u64 = MANIFEST_BYTES;

/// Most files that wait to be written.
pub const DISK_WRITES: usize = 1024;

/// Most bytes that wait to be written.
pub const DISK_QUEUE_BYTES: u64 = 8 * 1024 * 1024;

/// Files of content that are read at once.
pub const DISK_READS: usize = 16;

/// Longest wait for content on disk. A disk answers in a few milliseconds, a registry in a hundred; one that hangs must
/// leave time for asking the registry.
pub const DISK_WAIT: Duration = Duration::from_millis(250);

/// Most verdicts remembered at once; the oldest goes first.
pub const MEMO_ENTRIES: usize = 10_000;

/// Most verdicts kept for `ratifyctl explain`; the oldest goes first.
pub const RECENT_VERDICTS: usize = 512;

/// Most verdicts that one who watches may be behind; older ones are skipped.
pub const WATCH_BACKLOG: usize = 256;

/// How long a walk goes on for which nobody waits any more. Who was killed by its caller may ask again at once.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(2);

/// Most questions that one user other than root has under way, those of callers who hung up included for
/// [`ABANDONED_AFTER`]: whoever may only ask must not crowd out the node's own pulls.
pub const CALLS_PER_USER: usize = 32;

/// How long pulls in flight may take to end once the daemon was asked to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Largest message that the socket takes. A request to verify has about 300 bytes; with the longest name
/// ([`NAME_BYTES`]), media type and digest it has 1100.
pub const CALL_BYTES: usize = 4 * 1024;

/// Largest answer to `explain`: one report may take all of [`RECENT_BYTES`], and JSON adds its own.
pub const EXPLAIN_BYTES: usize = 4 * RECENT_BYTES;

/// Largest list of headers of one call, in bytes.
pub const CALL_HEADER_BYTES: u32 = 4 * 1024;

/// Most bytes of one call that may be under way before they are read (RFC 9113, section 5.2): a whole message and more.
pub const CALL_WINDOW_BYTES: u32 = 8 * 1024;

/// The same of all calls of one connection: the least that the protocol knows (RFC 9113, section 6.9.2).
pub const CONNECTION_WINDOW_BYTES: u32 = 65_535;

/// Most calls under way on one connection. The shim makes one. With [`CALL_BYTES`], [`CALL_HEADER_BYTES`] and
/// [`CONNECTION_WINDOW_BYTES`] this bounds what a caller who never finishes can make the daemon hold: 192 KiB.
pub const CALLS_PER_CONNECTION: u32 = 16;

/// Most connections on the socket at once. Each pull has one for as long as it waits for its verdict; an idle one
/// costs some 32 KiB.
pub const CONNECTIONS: usize = 2048;

/// Most images of a node that are judged at once when it is asked what the policy says of all of them; a kubelet
/// starts to remove images long before.
pub const PRESENT_IMAGES: usize = 1000;

/// Most of these judgements under way at once: less than [`CALLS_PER_USER`], and pulls go on beside them.
pub const PRESENT_CONCURRENCY: usize = 8;

/// Longest time for all of them; what is not judged by then is UNAVAILABLE.
pub const PRESENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Connections to the metrics endpoint that are served at once. Each is one request of whoever collects them.
pub const METRICS_CONNECTIONS: usize = 4;

/// Longest time for one request to the metrics endpoint, and how long is waited before listening is tried again.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Questions to one OCI layout on disk that are under way at once.
pub const LAYOUT_READS: usize = 16;

/// Most entries of an OCI layout's index.json.
pub const LAYOUT_ENTRIES: usize = 4096;

/// Most files in an archive that holds an OCI layout.
pub const LAYOUT_FILES: usize = 65_536;

/// Largest answer of a key vault, in bytes: a secret has at most 25 KiB, a page of versions 25 entries (Azure Key Vault's
/// service limits).
pub const VAULT_REPLY_BYTES: u64 = 256 * 1024;

/// Most pages of a list of versions that are read.
pub const VAULT_PAGES: usize = 16;

/// Most certificates that are named in one key vault.
pub const VAULT_ITEMS: usize = 32;

/// How often a key vault is read, unless configured.
pub const VAULT_REFRESH: Duration = Duration::from_secs(10 * 60);

/// The least time between two readings of a key vault.
pub const VAULT_REFRESH_MIN: Duration = Duration::from_secs(60);

/// How soon trust from elsewhere, a key vault or a TUF repository, that could not be read is tried again.
pub const REMOTE_RETRY: Duration = Duration::from_secs(30);

/// How long the first reading of trust from elsewhere is waited for before the rest goes on without it.
pub const REMOTE_FIRST: Duration = Duration::from_secs(6);

/// How often a TUF repository is read, unless configured: Sigstore's own signs its timestamp anew every few days.
pub const TUF_REFRESH: Duration = Duration::from_secs(60 * 60);

/// Longest `root.json` that trust in a TUF repository begins with, in bytes.
pub const TUF_ROOT_BYTES: u64 = 512 * 1024;

/// Largest target of a TUF repository, in bytes: a trusted root.
pub const TUF_TARGET_BYTES: u64 = TRUST_FILE_BYTES;

/// Largest file of a TUF repository beside its root and its targets, in bytes, and of all that is kept of one on disk.
/// python-tuf's limit for the role `targets`, of all roles the largest.
pub const TUF_METADATA_BYTES: u64 = 5_000_000;

/// How long one file of a TUF repository is waited for.
pub const TUF_TIMEOUT: Duration = Duration::from_secs(30);

/// How long trust from elsewhere stays in force when it cannot be read again, unless configured.
pub const TRUST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest time that may be configured for it, and for the time between two readings.
pub const TRUST_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The day on which this program was built: no honest clock stands before it. Seconds since 1970, from
/// `SOURCE_DATE_EPOCH` where that was set at the build.
#[must_use]
pub fn built_at() -> SystemTime {
    let seconds = env!("RATIFYD_BUILD_TIME").parse().unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// By how much clocks may differ: what is dated later than that is not believed (RFC 6960, section 4.2.2.1).
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Most certificates of an OCSP response that are looked at. One is what a responder sends who answers for an issuer.
pub const OCSP_CERTIFICATES: usize = 8;

/// Longest wait for one OCSP responder, unless configured (Notary Project, trust policy specification, "OCSP Download").
pub const OCSP_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for one CRL, unless configured (the same, "CRL Download").
pub const CRL_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest value of `ocspTimeout` and `crlTimeout`: a pull has ended by then.
pub const REVOCATION_TIMEOUT_MAX: Duration = CALL_TIMEOUT;

/// Longest time for finding out about one certificate, for whoever still wants to know: several responders and lists in
/// turn.
pub const REVOCATION_SEARCH: Duration = Duration::from_secs(120);

/// Largest OCSP response, in bytes. Real ones have 0.5 to 4 KiB.
pub const OCSP_BYTES: u64 = 64 * 1024;

/// Largest CRL, in bytes, unless configured for less: the largest of public authorities have some 16 MiB.
pub const CRL_BYTES: u64 = 32 * 1024 * 1024;

/// Most responders, and most places of lists, that are asked about one certificate.
pub const REVOCATION_URLS: usize = 8;

/// Questions to OCSP responders that are under way at once.
pub const OCSP_REQUESTS: usize = 32;

/// CRLs that are fetched at once: each is in memory as a whole meanwhile.
pub const CRL_REQUESTS: usize = 4;

/// Most certificates of which it is kept in memory whether they stand; the one longest unused goes first. Some 4 KiB
/// each.
pub const REVOCATION_KEPT: usize = 1024;

/// How long it is kept that it could not be found out about a certificate.
pub const REVOCATION_UNKNOWN_KEPT: Duration = Duration::from_secs(5);

/// How long an answer is kept whose successor is due and cannot be had.
pub const REVOCATION_OLD_KEPT: Duration = Duration::from_secs(60);

/// How long it is kept that a certificate cannot be taken back by anybody.
pub const IRREVOCABLE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What part of the time that an answer still counts passes before the next one is fetched ahead: three quarters.
pub const PREFETCH_SHARE: f64 = 0.75;

/// Shortest time between two such fetches.
pub const PREFETCH_PAUSE: Duration = Duration::from_secs(60);

/// Nothing is fetched ahead for certificates that nobody asked about for so long.
pub const PREFETCH_USED: Duration = Duration::from_secs(24 * 60 * 60);

/// Most bytes of CRLs and OCSP responses on disk, within `cache.disk`; the oldest go first.
pub const REVOCATION_DISK_BYTES: u64 = 128 * 1024 * 1024;

/// CRLs and OCSP responses that are read from disk or written at once.
pub const REVOCATION_DISK_JOBS: usize = 8;

/// Most files in a folder of CRLs, and most CRLs in one file.
pub const CRL_FILES: usize = 256;

/// How long a folder of CRLs is known before it is looked at again.
pub const CRL_FOLDER_LOOK: Duration = Duration::from_secs(1);
