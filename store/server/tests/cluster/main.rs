//! Clusters of real members: founded by flags or by the operator's calls, grown and shrunk, killed and caught up.

mod admission;
mod faults;
mod member;
