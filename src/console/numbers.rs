//! Numbers as people read them.

use crate::money::Money;
use crate::units::ByteSize;

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A whole number, its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share from 0 to 1 in percent, to one digit.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// A size in the largest unit of which there is a whole one, to one digit.
pub(super) fn size(size: ByteSize) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let bytes = size.as_u64();
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

/// An amount in the currency of the prices, to as many digits as say something.
pub(super) fn money(amount: Money) -> String {
    let amount = amount.rounded();
    if amount >= 1.0 || amount == 0.0 { format!("{amount:.2}") } else { format!("{amount:.6}") }
}
