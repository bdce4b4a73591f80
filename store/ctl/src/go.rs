//! How Go reads and prints values: etcdctl's texts are Go's, and scripts depend on them to the byte.

pub mod duration;
pub mod json;
pub mod number;
pub mod quote;
