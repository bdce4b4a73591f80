//! Ports for servers that begin to listen later, some of them only when they were admitted to a cluster.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what systems give to outgoing connections (from 32768 on), so that none of those takes a port before its server listens.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port that nobody listens on and that this process has not given away.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at other places.
    let place = std::process::id().wrapping_mul(313);
    (0..COUNT)
        .map(|_| {
            let next = place.wrapping_add(u32::from(NEXT.fetch_add(1, Ordering::Relaxed)));
            FIRST + u16::try_from(next % u32::from(COUNT)).unwrap()
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 20000 ports is free")
}
