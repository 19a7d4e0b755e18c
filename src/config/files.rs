//! The open files that a configuration needs.
//!
//! A client's connection is one, and its request may need another towards an upstream; what the gateway itself has open
//! (listeners, the store, logs) comes out of the second half. So `max_connections` needs twice its number, and a few
//! more than its number in any case. Requests that still find no file left, as those of many HTTP/2 streams may, are
//! told that the gateway is at its limits.

use std::num::NonZeroU32;

use crate::config::{Config, Provenance};

/// What is needed beside the connections of clients, at least.
const LEAST_BESIDE: u64 = 64;

/// The process may open fewer files than `max_connections` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.max_connections: {connections} needs {needed} open files, and this process may have {files}: \
     raise its hard limit, as with `ulimit -Hn {needed}` or systemd's LimitNOFILE={needed}{}",
    or_less(*.most)
)]
pub struct TooFewFiles {
    connections: u32,
    needed: u64,
    files: u64,
    /// How many connections would fit.
    most: u64,
}

fn or_less(connections: u64) -> String {
    match connections {
        0 => String::new(),
        some => format!(", or write {some} or less"),
    }
}

/// Holds the connections of `config` to what fits into `files` open files: a default gives way, what was written does
/// not.
///
/// # Errors
/// What was written does not fit, or nothing does.
pub fn fit(config: &mut Config, files: u64) -> Result<(), TooFewFiles> {
    let limits = &mut config.limits;
    let connections = limits.max_connections.get();
    let needed = u64::from(connections) + u64::from(connections).max(LEAST_BESIDE);
    if needed <= files {
        return Ok(());
    }
    let most = (files / 2).min(files.saturating_sub(LEAST_BESIDE));
    let fitting = u32::try_from(most).ok().and_then(NonZeroU32::new);
    match (limits.max_connections_from, fitting) {
        (Provenance::Default, Some(fitting)) => {
            limits.max_connections = fitting;
            Ok(())
        }
        _ => Err(TooFewFiles { connections, needed, files, most }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::fit;
    use crate::config::{Config, parse};

    fn config(limits: &str) -> Config {
        parse(&format!("limits: {{{limits}}}\n"), "gateway.yaml", &BTreeMap::new(), Path::new("")).unwrap()
    }

    #[test]
    fn what_was_written_fits_or_is_refused() {
        for (connections, files) in [(10_000, 20_000), (128, 256), (64, 128), (10, 74), (1, 65)] {
            let mut config = config(&format!("max_connections: {connections}"));
            assert_eq!(fit(&mut config, files), Ok(()), "{connections}");
            let refused = fit(&mut config, files - 1).unwrap_err().to_string();
            let named =
                format!("{connections} needs {files} open files, and this process may have {}", files - 1);
            assert!(refused.contains(&named), "{refused}");
            assert_eq!(config.limits.max_connections.get(), connections);
        }
    }

    #[test]
    fn the_number_that_is_named_fits() {
        let refused = fit(&mut config("max_connections: 10000"), 256).unwrap_err().to_string();
        assert!(refused.ends_with("or write 128 or less"), "{refused}");
        assert_eq!(refused.lines().count(), 1);
        let refused = fit(&mut config("max_connections: 100"), 100).unwrap_err().to_string();
        assert!(refused.ends_with("or write 36 or less"), "{refused}");
        assert_eq!(fit(&mut config("max_connections: 36"), 100), Ok(()));
    }

    #[test]
    fn the_default_gives_way() {
        for (files, connections) in [(u64::MAX, 10_000), (20_000, 10_000), (4096, 2048), (100, 36), (65, 1)] {
            let mut config = config("max_requests: 7");
            assert_eq!(fit(&mut config, files), Ok(()));
            assert_eq!(config.limits.max_connections.get(), connections, "{files} files");
            assert_eq!(config.limits.connections_per_address(), connections.div_ceil(2));
        }
        assert!(fit(&mut config("max_requests: 7"), 64).is_err());
    }
}
