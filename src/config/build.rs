//! Raw configuration to checked: all defaults, all problems.
