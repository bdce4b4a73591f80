//! Judges beside the history of commands (`world`): what was promised to whom, and whether it was kept. They know the contract and
//! the model, nothing of the core.

pub mod alarms;
pub mod history;
pub mod leases;
pub mod watches;
