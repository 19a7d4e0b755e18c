//! Numbers as ECMAScript writes them (ECMA-262 §6.1.6.1.20, which RFC 8785 §3.2.2.3 prescribes).

use std::fmt::Write;

/// Appends `value` in its shortest form that reads back as the same double. Not for infinities and NaN, which JSON
/// does not have.
pub fn write_ecmascript(value: f64, out: &mut String) {
    if value == 0.0 {
        out.push('0');
        return;
    }
    if value < 0.0 {
        out.push('-');
    }
    let (digits, exponent) = shortest(value.abs());
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The value is 0.DIGITS times ten to the `point`.
    let point = exponent + 1;
    if count <= point && point <= 21 {
        out.push_str(&digits);
        zeros(point - count, out);
    } else if 0 < point && point <= 21 {
        let (whole, fraction) =
            digits.split_at_checked(point.unsigned_abs() as usize).unwrap_or((&digits, ""));
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else if -6 < point && point <= 0 {
        out.push_str("0.");
        zeros(-point, out);
        out.push_str(&digits);
    } else {
        let (first, others) = digits.split_at_checked(1).unwrap_or((&digits, ""));
        out.push_str(first);
        if !others.is_empty() {
            out.push('.');
            out.push_str(others);
        }
        out.push_str(if exponent < 0 { "e-" } else { "e+" });
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", exponent.unsigned_abs());
    }
}

/// The shortest digits of a positive number, and the exponent of ten of the first of them.
fn shortest(value: f64) -> (String, i32) {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
    (digits, exponent.parse().unwrap_or(0))
}

fn zeros(count: i32, out: &mut String) {
    out.extend((0..count).map(|_| '0'));
}

#[cfg(test)]
mod tests {
    use super::write_ecmascript;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        let mut out = String::new();
        write_ecmascript(value, &mut out);
        assert_eq!(out, expected);
        assert_eq!(out.parse::<f64>().expect("a number"), value, "reads back");
    }

    #[test]
    fn writes_each_form() {
        check(-0.0, "0");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(-1.5e300, "-1.5e+300");
        check(1e-6, "0.000001");
        check(1e-7, "1e-7");
        check(123.456, "123.456");
        check(1.25e-9, "1.25e-9");
        check(f64::MIN_POSITIVE, "2.2250738585072014e-308");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(9007199254740992.0, "9007199254740992");
    }
}
