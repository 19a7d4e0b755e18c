//! What is summed in memory: each worker for itself, exactly, and within a bound.

use std::num::NonZeroUsize;

use proptest::prelude::{any, proptest};
use safecache::ids::{AccountId, KeyId};
use safecache::spread::begin_worker;
use safecache::usage::ledger::{Counted, Ledger, MOST_SUMS, OTHER_MODEL};
use safecache::usage::record::{Class, Sums};

use crate::support::gateway::START;

fn ledger(workers: usize) -> Ledger {
    Ledger::new(NonZeroUsize::new(workers).expect("a worker"))
}

fn one(tokens: u64) -> Sums {
    Sums { requests: 1, prompt_tokens: tokens, ..Sums::default() }
}

/// Adds a request of acme's key `key`.
fn add(ledger: &Ledger, key: &str, model: &str, class: Class, tokens: u64) {
    let (account, key) = (AccountId::new("acme"), KeyId::new(key));
    let counted =
        Counted { account: &account, key: &key, name: None, environment: None, model, class, at: START };
    ledger.add(&counted, one(tokens));
}

#[test]
fn models_beyond_the_bound_count_as_other_and_keys_beyond_it_are_told_of() {
    let ledger = ledger(1);
    let models = MOST_SUMS * 3 / 4 + 1000;
    for number in 0..models {
        add(&ledger, "a", &format!("m{number}"), Class::Miss, 1);
    }
    let count = |rows: &[safecache::usage::record::UsageRow], model: &str| {
        rows.iter().filter(|row| &*row.cell.model == model).map(|row| row.line.sums.requests).sum::<u64>()
    };
    let rows = ledger.take();
    assert_eq!((count(&rows, OTHER_MODEL), ledger.take_lost()), (1000, 0));
    assert_eq!(rows.iter().map(|row| row.line.sums.requests).sum::<u64>(), models as u64, "nothing is lost");
    assert_eq!(ledger.take(), [], "what was taken is gone");

    for number in 0..MOST_SUMS + 10 {
        add(&ledger, &format!("k{number}"), "m", Class::Miss, 1);
    }
    add(&ledger, "k0", "m", Class::Miss, 1);
    assert_eq!((ledger.take().len(), ledger.take_lost(), ledger.take_lost()), (MOST_SUMS, 10, 0));
}

proptest! {
    /// Whichever worker adds them and whenever they are taken, sums are those of all that was added.
    #[test]
    fn nothing_is_lost_between_workers(added in proptest::collection::vec((0..3_usize, 0..4_u32, 0..9_usize, any::<u32>(), any::<bool>()), 0..80)) {
        let ledger = ledger(3);
        let mut expected = std::collections::BTreeMap::new();
        let mut taken = Vec::new();
        for (worker, name, class, tokens, takes) in added {
            begin_worker(worker);
            let (key, model) = (format!("k{}", name / 2), format!("m{}", name % 2));
            add(&ledger, &key, &model, Class::ALL[class], tokens.into());
            let sum: &mut (u64, u64) = expected.entry((key, model, Class::ALL[class])).or_default();
            *sum = (sum.0 + 1, sum.1 + u64::from(tokens));
            if takes {
                taken.extend(ledger.take());
            }
        }
        begin_worker(0);
        let last = ledger.take();
        let cells: std::collections::BTreeSet<_> = last.iter().map(|row| row.cell.clone()).collect();
        assert_eq!(cells.len(), last.len(), "each cell once");
        let mut found = std::collections::BTreeMap::new();
        for row in taken.into_iter().chain(last) {
            let name = (row.cell.key.to_string(), row.cell.model.to_string(), row.cell.class);
            let sum: &mut (u64, u64) = found.entry(name).or_default();
            *sum = (sum.0 + row.line.sums.requests, sum.1 + row.line.sums.prompt_tokens);
        }
        assert_eq!(found, expected);
    }
}
