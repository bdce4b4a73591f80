//! The replicated state machine and the raft driver as values in, values out
