//! `safecache schema`: the JSON Schema of gateway.yaml.

use std::io::Write;

use crate::config::raw::RawConfig;

/// Prints the schema on `out`.
///
/// # Errors
/// That `out` is closed.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    let schema = schemars::schema_for!(RawConfig);
    writeln!(out, "{}", serde_json::to_string_pretty(&schema)?)?;
    Ok(())
}
