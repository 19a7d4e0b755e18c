//! `bucket.lua` once more, in Rust: the Redis of the simulation. `script.rs` holds it to the real one.

use std::collections::HashMap;

/// What a bucket is between two calls.
#[derive(Clone, Debug)]
pub(crate) struct State {
    epoch: f64,
    sequence: f64,
    /// Nanoseconds on Redis' clock.
    tat: i128,
    net: f64,
    tau: f64,
    server: u64,
    /// From then on it is forgotten.
    expires: i128,
}

/// One call at `now`, in nanoseconds on the clock of `server`; a bucket that has expired is to be taken away before.
pub(crate) fn call(state: &mut Option<State>, arguments: &[u64; 9], now: i128, server: u64) -> [i64; 6] {
    let [interval, tau, replicas, epoch, sequence, known, returned, charged, want] =
        arguments.map(|number| number as f64);
    let known = known.min(2.0 * tau);
    let (e, s, mut debt, mut net);
    match state {
        Some(kept) => {
            let mut owed = ((kept.tat - now) as f64).max(0.0);
            let mut charged_since = kept.net;
            if owed > 2.0 * kept.tau {
                owed = kept.tau;
            }
            if kept.tau != tau {
                owed = (owed * tau / kept.tau).ceil();
                charged_since = (charged_since * tau / kept.tau).ceil();
            }
            if kept.server != server || (epoch == kept.epoch && sequence > kept.sequence) {
                let new = (epoch + 1.0).max(kept.epoch + 1.0).max((now / 1000) as f64);
                (e, s) = (new, sequence.max(kept.sequence));
                (debt, net) = (owed.max(known), 0.0);
            } else {
                (e, s, debt, net) = (kept.epoch, kept.sequence, owed, charged_since);
                if epoch > 0.0 && epoch != e && known > 0.0 {
                    debt = (2.0 * tau).min(debt + (known - (debt - net)).max(0.0));
                }
            }
        }
        None => {
            (e, s) = ((epoch + 1.0).max((now / 1000) as f64), 0.0);
            (debt, net) = (if epoch > 0.0 { known } else { 0.0 }, 0.0);
        }
    }
    debt = (debt - returned * interval).max(0.0);
    net -= returned * interval;
    debt = (2.0 * tau).min(debt + charged * interval);
    net += charged * interval;
    let (mut granted, mut wait) = (0.0, 0.0);
    let room = ((tau - debt) / interval).floor();
    if room < 1.0 {
        wait = debt + interval - tau;
    } else if want > 0.0 {
        granted = want.min((room / (2.0 * replicas)).floor().clamp(1.0, 1024.0));
        debt += granted * interval;
        net += granted * interval;
    }
    let net = net.min(4.0 * tau).max(-4.0 * tau);
    let expires = now + ((debt / 1e6).ceil() as i128 + 10_000) * 1_000_000;
    *state = Some(State { epoch: e, sequence: s + 1.0, tat: now + debt as i128, net, tau, server, expires });
    [1, e as i64, (s + 1.0) as i64, granted as i64, debt as i64, wait as i64]
}

/// All buckets of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redis {
    buckets: HashMap<u32, State>,
}

impl Redis {
    pub(crate) fn call(&mut self, key: u32, arguments: &[u64; 9], now: i128, server: u64) -> [i64; 6] {
        let mut state = self.buckets.remove(&key).filter(|state| state.expires > now);
        let reply = call(&mut state, arguments, now, server);
        self.buckets.extend(state.map(|state| (key, state)));
        reply
    }

    /// The tokens in the bucket, in nanoseconds; `None`: it is full.
    pub(crate) fn debt(&self, key: u32, now: i128) -> i128 {
        self.buckets.get(&key).map_or(0, |state| (state.tat - now).max(0))
    }

    /// The bucket alone.
    pub(crate) fn state(&self, key: u32) -> Option<State> {
        self.buckets.get(&key).cloned()
    }

    /// Puts one bucket back to what it was.
    pub(crate) fn put(&mut self, key: u32, state: Option<State>) {
        match state {
            Some(state) => drop(self.buckets.insert(key, state)),
            None => drop(self.buckets.remove(&key)),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
    }
}
