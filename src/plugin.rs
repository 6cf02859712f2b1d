//! Plugins as OCI artifacts: how the program for this machine is found in one ([`select`]), where programs are kept by
//! digest ([`kept`]), and how one is followed under its tag ([`source`]): fetched, judged, and only then used. Called by
//! `assemble` and by `ratifyctl plugin`. Nothing of this is done in the path of a pull.

pub mod kept;
pub mod select;
pub mod source;

/// What `ratifyctl plugin push` calls the program. Whoever fetches one takes any media type.
pub const PROGRAM_TYPE: &str = "application/vnd.ratifyd.plugin.v1.program";

/// The name of a blob's file (OCI image specification, "Pre-Defined Annotation Keys").
pub const TITLE: &str = "org.opencontainers.image.title";

/// When an artifact was made (RFC 3339).
pub const CREATED: &str = "org.opencontainers.image.created";

#[cfg(test)]
mod tests;
