//! Container images without a registry: a folder or a few files become a docker archive that containerd imports.

mod archive;

pub use archive::{Config, Content, Error, write};
