//! What commands print of what the operator's API says: columns for people, JSON for programs.

use std::io::Write;

use serde_json::Value;

/// Prints it as it is.
///
/// # Errors
/// `out` is closed.
pub fn print_json(said: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{said:#}").map_err(Into::into)
}

/// A member of something listed as text; a dash if there is none.
pub fn text<'a>(listed: &'a Value, member: &str) -> &'a str {
    listed[member].as_str().unwrap_or("-")
}

/// Prints columns, each as wide as its widest cell.
///
/// # Errors
/// `out` is closed.
pub fn print_table<const N: usize>(
    heads: [&str; N],
    rows: Vec<[String; N]>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let lines = || std::iter::once(heads).chain(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in lines() {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
