//! The hot-reloaded key list, YAML or JSON lines.
