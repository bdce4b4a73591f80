//! End-to-end scenarios: a real Kubernetes on one machine, the images that its pods run, and the runner of scenarios
//! that share one cluster; and servers broken on purpose.
//!
//! Reading order: [`kubernetes`] (what a test uses), [`image`] (images without a registry), [`scenario`]; apart from them
//! [`crash`] (servers killed and cut off from power), [`history`] (what clients may see) and [`chaos`] (clusters under all
//! faults, judged by it).

pub mod authority;
pub mod chaos;
pub mod crash;
pub mod history;
pub mod image;
pub mod kubernetes;
pub mod scenario;
