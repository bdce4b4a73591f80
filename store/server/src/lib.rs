//! The quorate server: thin shells around quorate-core
