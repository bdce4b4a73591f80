//! The text form of a transaction: comparisons such as `mod("key") > "0"`, and operations as the command lines of `get`,
//! `put` and `del`.

pub mod compare;
pub mod operation;

/// Why a line is no part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Input ended before the empty line behind each of the three blocks.
    #[error("EOF")]
    InputEnded,
    #[error("malformed comparison: {0}")]
    NoComparison(String),
    #[error("malformed comparison: {line}; got {target}({}) {operator} {}", quoted(.key), quoted(.value))]
    Incomplete { line: String, target: String, key: Vec<u8>, operator: String, value: Vec<u8> },
    #[error("malformed comparison: {line} (unknown target {target})")]
    UnknownTarget { line: String, target: String },
    #[error("malformed comparison: {line} (unknown operator {operator}, use =, !=, < or >)")]
    UnknownOperator { line: String, operator: String },
    /// The number of a comparison does not parse, or an operation lacks its key.
    #[error("invalid txn compare request: {0}")]
    Invalid(String),
    #[error("invalid txn request: {0}")]
    UnknownOperation(String),
    #[error("invalid syntax")]
    Escape,
}

fn quoted(bytes: &[u8]) -> String {
    crate::go::quote::quote(bytes)
}
