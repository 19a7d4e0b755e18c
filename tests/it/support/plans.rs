//! Two plans to make keys of, for tests that need no gateway.

use std::num::NonZeroU32;
use std::sync::Arc;

use safecache::ids::PlanName;
use safecache::limits::plan::{Per, Plan};

/// `free` and `pro`, with the numbers of the built-in ones.
pub(crate) fn plans() -> Vec<Arc<Plan>> {
    let plan = |name, per_minute, burst| {
        let per_minute = NonZeroU32::new(per_minute).unwrap();
        let burst = NonZeroU32::new(burst).unwrap();
        Arc::new(Plan::new(PlanName::new(name), per_minute, burst, Per::Key).unwrap())
    };
    vec![plan("free", 60, 100), plan("pro", 600, 1000)]
}
