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

/// The shortest digits of a positive number, and the exponent of ten of the first of them. Of two that are equally near
/// the even ones, as RFC 8785 §3.2.2.3 has it; Rust's own shortest form takes the greater.
fn shortest(value: f64) -> (String, i32) {
    let scientific = format!("{value:e}");
    let found = parts(&scientific);
    // Two so short ones are never the same double.
    if found.0.len() <= f64::DIGITS as usize {
        return found;
    }
    let nearest = format!("{value:.*e}", found.0.len() - 1);
    // Below a power of two the nearest may be another double's.
    if nearest.parse() == Ok(value) { parts(&nearest) } else { found }
}

/// The digits of a number in scientific notation, and its exponent.
fn parts(scientific: &str) -> (String, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
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

    /// Those of RFC 8785, appendix B, that lie on the edge, and others in the middle between two.
    #[test]
    fn takes_the_nearest_and_of_two_the_even_one() {
        check(f64::from_bits(0x4314_3ff3_c1cb_0959), "1424953923781206.2");
        check(f64::from_bits(0x44b5_2d02_c7e1_4af6), "1e+23");
        check(f64::from_bits(0x44b5_2d02_c7e1_4af5), "9.999999999999997e+22");
        check(f64::from_bits(0x44b5_2d02_c7e1_4af7), "1.0000000000000001e+23");
        check(f64::from_bits(0x444b_1ae4_d6e2_ef4e), "999999999999999700000");
        check(f64::from_bits(0x444b_1ae4_d6e2_ef4f), "999999999999999900000");
        check(f64::from_bits(0x3eb0_c6f7_a0b5_ed8c), "9.999999999999997e-7");
        check(f64::from_bits(0x41b3_de43_5555_5553), "333333333.3333332");
        check(f64::from_bits(0x41b3_de43_5555_5556), "333333333.3333334");
        check(f64::from_bits(0xbecb_f647_612f_3696), "-0.0000033333333333333333");
        check(3602879701896397.0 / 4.0, "900719925474099.2");
        check(3602879701896399.0 / 4.0, "900719925474099.8");
        check(5e-324, "5e-324");
        check(2f64.powi(-44), "5.684341886080802e-14");
    }
}
