//! What programs that start servers share, so that none leaves anything behind however it ends.
//!
//! A harness that is asked to stop ([`Interrupt`]) ends what it started, in order, and says so. One that is killed cannot: its servers are
//! tied to it ([`tie`]), and the next run tells by its [`Identity`] that it is dead and clears up. [`Status`] is what /proc says of a process.

mod identity;
mod interrupt;
pub mod status;
mod tie;

pub use identity::Identity;
pub use interrupt::{Interrupt, Interrupted};
pub use status::Status;
pub use tie::tie;
