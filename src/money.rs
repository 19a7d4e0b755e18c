//! Amounts of money whose sums are exact.
//!
//! A price for a million tokens has at most six digits behind its point: so that of one token is a whole number of the
//! unit here, and nothing is rounded before it is shown.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// An amount in the currency that the prices are in, in millionths of a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u128);

impl Money {
    /// So many millionths of a millionth.
    pub const fn from_units(units: u128) -> Self {
        Self(units)
    }

    /// The price of one token where a million cost so much; `None` if that is negative, more than a million, or has more
    /// than six digits behind its point.
    pub fn per_token(per_million: f64) -> Option<Self> {
        const MOST: f64 = 1e6;
        if !(0.0..=MOST).contains(&per_million) {
            return None;
        }
        // The shortest text of a number is the one that was written.
        let text = per_million.to_string();
        let (whole, digits) = text.split_once('.').unwrap_or((&text, ""));
        let whole: u128 = whole.parse().ok()?;
        let fraction: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let places = u32::try_from(digits.len()).ok()?;
        Some(Self(whole * 1_000_000 + fraction * 10_u128.pow(6_u32.checked_sub(places)?)))
    }

    /// The same, so many times.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count as u128))
    }

    /// How many millionths of a millionth.
    pub const fn as_units(self) -> u128 {
        self.0
    }

    /// The amount in whole units of the currency, rounded to six digits, half up.
    pub fn rounded(self) -> f64 {
        let millionths = self.0.saturating_add(500_000) / 1_000_000;
        // Beyond 2^53 millionths, nine thousand million, the last digit may be off.
        millionths as f64 / 1e6
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::Money;

    #[test]
    fn a_price_is_taken_to_its_last_digit_or_refused() {
        let units = |per_million| Money::per_token(per_million);
        assert_eq!(units(2.5), Some(Money::from_units(2_500_000)));
        assert_eq!(units(0.15), Some(Money::from_units(150_000)));
        assert_eq!(units(0.000001), Some(Money::from_units(1)));
        assert_eq!(units(1e6), Some(Money::from_units(1_000_000_000_000)));
        for wrong in [-0.5, 1e6 + 0.5, 0.0000001, f64::NAN] {
            assert_eq!(units(wrong), None, "{wrong}");
        }
    }
}
