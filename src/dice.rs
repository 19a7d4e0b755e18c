//! Randomness and the ids made from it.

use uuid::Uuid;

use crate::clock::UnixTime;

/// Fills `bytes` from the operating system's generator.
///
/// # Errors
/// The operating system refused; nothing random can be made then.
pub fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}

/// A UUIDv7 (RFC 9562 §5.7): milliseconds of `now`, then 74 random bits. Names things; keeps no secret, so a
/// fast generator of this thread is enough.
pub fn uuid_v7(now: UnixTime) -> Uuid {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid()
}

/// A number below `bound`, for choices that need not be secret; 0 if `bound` is 0.
pub fn below(bound: u32) -> u32 {
    if bound == 0 { 0 } else { fastrand::u32(..bound) }
}
