//! Sizes and durations as people write them: `64KiB`, `250ms`, `24h`.

use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// `bytes` bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// `n` times 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, at most what the machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `0`, `123B`, `64KiB`, `1.5MiB`-free forms: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB`.
    /// A number without a unit is refused, except `0`. `None` if it is no size or does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let scale: u64 = match unit {
            "" if number == 0 => 1,
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        number.checked_mul(scale).map(Self)
    }
}

/// Reads a span of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`. A bare `0` is zero.
/// `None` if it is no span or is longer than 10,000 days.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let millis: u64 = match unit {
        "" if number == 0 => 1,
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    let total = number.checked_mul(millis)?;
    (total <= 10_000 * 24 * 3600 * 1000).then(|| Duration::from_millis(total))
}

/// Splits `12KiB` into 12 and `KiB`. `None` without a leading digit or if the number does not fit.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}
