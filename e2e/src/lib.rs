//! End-to-end scenarios: a real Kubernetes on one machine, the images that its pods run, and the runner of scenarios
//! that share one cluster.
//!
//! Reading order: [`kubernetes`] (what a test uses), [`image`] (images without a registry), [`scenario`]; apart from them
//! [`crash`] (servers killed and cut off from power).

pub mod crash;
pub mod image;
pub mod kubernetes;
pub mod scenario;
