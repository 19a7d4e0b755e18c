//! What there is to say of the policy that is in force, for whoever shows it to operators.

use std::path::PathBuf;

use crate::runtime::journal::{LastReload, Standing};

/// The policy that is in force, and how its reloads went.
#[derive(Clone, Debug)]
pub struct PolicyState {
    /// One more with each reload that is taken, from 1.
    pub generation: u64,
    /// Keys in the ring.
    pub keys: usize,
    /// Plans.
    pub plans: usize,
    /// Routes.
    pub routes: usize,
    /// Upstreams.
    pub upstreams: usize,
    /// The file of the configuration; `None`: it was made in memory.
    pub file: Option<PathBuf>,
    /// The key list that is followed.
    pub list: Option<PathBuf>,
    /// How the newest reload ended; `None` before the first.
    pub last: Option<LastReload>,
    /// Every refusal that still stands, at most one a part.
    pub standing: Vec<Standing>,
}
