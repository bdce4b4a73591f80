//! Commands against a store in memory: each rule that etcd's clients see, and random histories against a naive model.

mod fixture;
mod keys;
mod leases;
mod model;
mod random;
mod recorded;
mod recovery;
mod restart;
mod scrub;
mod size;
mod txns;
