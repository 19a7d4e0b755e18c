//! What gateways share: real servers, and the lines to them, which the tests trouble.

mod answers;
mod commands;
mod engines;
mod flights;
mod keys;
mod limits;
mod link;
mod patience;
mod people;
mod purges;
mod refusals;
mod rolling;
mod room;
mod tls;
mod usage;

use std::sync::mpsc::channel;
use std::time::Duration;

/// Larger numbers are wanted.
fn is_soak() -> bool {
    std::env::var_os("SAFECACHE_SOAK").is_some()
}

/// Lets so much time pass.
fn pass(time: Duration) {
    let (_held, never) = channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}

/// Numbers that look like chance: others with another `SAFECACHE_SEED`.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var_os("SAFECACHE_SEED").and_then(|seed| seed.to_str()?.parse::<u64>().ok());
        Self(0x2545_f491_4f6c_dd1d ^ (seed.unwrap_or(1) << 1))
    }

    /// One that is less than `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound
    }
}
