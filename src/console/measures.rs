//! Numbers as people read them, with their units.

use std::time::Duration;

use crate::money::Money;
use crate::units::ByteSize;

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A number with a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `number` of what `one` is one of.
pub(super) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// A size in the largest unit of which there is a whole one, to one digit where that says something.
pub(super) fn size(size: ByteSize) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let bytes = size.as_u64();
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{} {name}", grouped(bytes / unit)),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => counted(bytes, "byte"),
    }
}

/// A span to the second, rounded up, in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let parts = [("d", 86_400, u64::MAX), ("h", 3_600, 24), ("min", 60, 60), ("s", 1, 60)];
    let parts = parts.into_iter().map(|(unit, scale, of)| (seconds / scale % of, unit));
    let said = parts.skip_while(|(number, _)| *number == 0).take(2).filter(|(number, _)| *number > 0);
    let said: Vec<String> = said.map(|(number, unit)| format!("{number} {unit}")).collect();
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

/// A share from 0 to 1 in percent, to one digit.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// An amount in the currency of the prices, to as many digits as say something.
pub(super) fn money(amount: Money) -> String {
    let amount = amount.rounded();
    if amount >= 1.0 || amount == 0.0 { format!("{amount:.2}") } else { format!("{amount:.6}") }
}
