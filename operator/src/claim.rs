//! The volume claims that a member has: one for its data and, with `spec.storage.walStorage`, one for its write-ahead log.

/// Which of a member's volume claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    Data,
    Wal,
}

impl Claim {
    /// All that a member may have; the data first.
    pub const ALL: [Self; 2] = [Self::Data, Self::Wal];

    /// Name of its template in the StatefulSet, which the names of the claims begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Wal => "wal",
        }
    }
}
