//! Numbers as databases keep them: integers of 64 bits with a sign, so what is larger reads as the largest.

use crate::clock::UnixTime;
use crate::money::Money;
use crate::units::ByteSize;

/// `number` as it is kept.
pub(in crate::store) fn kept(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A kept number; one below zero, which nothing here writes, reads as zero.
pub(in crate::store) fn read(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// `time` in milliseconds.
pub(in crate::store) fn kept_time(time: UnixTime) -> i64 {
    kept(time.as_millis())
}

/// A kept time.
pub(in crate::store) fn read_time(millis: i64) -> UnixTime {
    UnixTime::from_nanos(read(millis).saturating_mul(1_000_000))
}

/// `money` in millionths of a millionth.
pub(in crate::store) fn kept_money(money: Money) -> i64 {
    i64::try_from(money.as_units()).unwrap_or(i64::MAX)
}

/// A kept size.
pub(in crate::store) fn read_size(bytes: i64) -> ByteSize {
    ByteSize::bytes(read(bytes))
}
