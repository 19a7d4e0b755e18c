//! The built-in plans, and those written over them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::build::Builder;
use crate::config::node::Place;
use crate::config::raw::{RawPer, RawPlan};
use crate::config::scalar::{Size, Slot};
use crate::ids::{PlanName, is_config_name};
use crate::limits::plan::{DEFAULT_MAX_KEYS, DEFAULT_STORED_BYTES, Per, Plan, PlanError};

/// Requests a minute and burst of the plans that are always there.
const BUILT_IN: [(&str, NonZeroU32, NonZeroU32); 3] = [
    ("enterprise", nonzero(6000), nonzero(10000)),
    ("free", nonzero(60), nonzero(100)),
    ("pro", nonzero(600), nonzero(1000)),
];

const fn nonzero(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Builder<'_> {
    /// All plans, sorted by name. A plan with a problem is still there, so that keys may name it.
    pub(super) fn plans(&self, written: Slot<BTreeMap<String, Slot<RawPlan>>>) -> Vec<Arc<Plan>> {
        let root = Place::Root;
        let place = root.key("plans");
        let mut written = written.or(BTreeMap::new());
        for (name, _, _) in BUILT_IN {
            written.entry(name.to_owned()).or_insert(Slot::Absent);
        }
        written.into_iter().filter_map(|(name, plan)| self.plan(&name, plan, &place.key(&name))).collect()
    }

    fn plan(&self, name: &str, slot: Slot<RawPlan>, place: &Place<'_>) -> Option<Arc<Plan>> {
        self.check_name(name, place);
        let built_in = BUILT_IN.iter().find(|(built_in, _, _)| *built_in == name);
        let is_read = matches!(slot, Slot::Given(_));
        let raw = slot.or(RawPlan::default());
        if built_in.is_none() && is_read {
            for (key, is_absent) in [
                ("requests_per_minute", matches!(raw.requests_per_minute, Slot::Absent)),
                ("burst", matches!(raw.burst, Slot::Absent)),
            ] {
                if is_absent {
                    self.scene.refuse(
                        &place.key(key),
                        "is missing",
                        "only free, pro and enterprise have defaults",
                    );
                }
            }
        }
        let (rpm, burst) = built_in.map_or((nonzero(60), nonzero(100)), |(_, rpm, burst)| (*rpm, *burst));
        let rpm_at = place.key("requests_per_minute");
        let requests_per_minute = self.positive(raw.requests_per_minute, &rpm_at, rpm);
        let burst = self.positive(raw.burst, &place.key("burst"), burst);
        let per = match raw.per.or(RawPer::Key) {
            RawPer::Key => Per::Key,
            RawPer::Account => Per::Account,
        };
        let stored_bytes = raw.stored_bytes.or(Size(DEFAULT_STORED_BYTES)).0;
        let max_keys = self.positive(raw.max_keys, &place.key("max_keys"), DEFAULT_MAX_KEYS);
        match Plan::new(PlanName::new(name), requests_per_minute, burst, per) {
            Ok(plan) => Some(Arc::new(plan.with_stored_bytes(stored_bytes).with_max_keys(max_keys))),
            Err(error) => {
                let (at, hint) = match error {
                    PlanError::TooFast => (rpm_at, "60000000 is the most, and hardly limits"),
                    PlanError::TooDeep => (place.key("burst"), "lower burst or raise requests_per_minute"),
                    // Told by `check_name` already.
                    PlanError::Name => return None,
                };
                self.scene.refuse(&at, error.to_string(), hint);
                let stand_in = Plan::new(PlanName::new(name), nonzero(60), nonzero(100), per);
                stand_in.ok().map(Arc::new)
            }
        }
    }

    /// Refuses a name that does not match `[a-z0-9_-]{1,32}`.
    pub(super) fn check_name(&self, name: &str, place: &Place<'_>) {
        if !is_config_name(name) {
            let hint = "names are 1 to 32 of a-z, 0-9, _ and -";
            self.scene.refuse(place, "this name cannot be", hint);
        }
    }
}
