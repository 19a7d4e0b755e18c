//! The choice of a server: smooth weighted round robin over those that are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Monotonic;
use crate::spread::Spread;
use crate::upstream::health::Health;
use crate::upstream::settings::{ServerUrl, UpstreamSettings};

/// The servers of one upstream in the order of a weighted round, with their health.
#[derive(Debug)]
pub struct Pool {
    /// One round: each server as often as it weighs, spread evenly.
    round: Box<[usize]>,
    health: Box<[Arc<Health>]>,
    /// Each worker goes round for itself.
    turn: Spread<AtomicU64>,
}

/// Weights are reduced so that a round is no longer than this.
const LONGEST_ROUND: u64 = 1024;

impl Pool {
    /// The pool of `settings`. After a `previous` one of the same upstream, a server that was in it shares its health
    /// with requests that still use that pool, and the round goes on; any other server is well.
    pub fn new(settings: &UpstreamSettings, previous: Option<(&UpstreamSettings, &Self)>) -> Self {
        let known = |server: &ServerUrl| {
            let (before, pool) = previous?;
            let all = before.servers.iter().zip(&pool.health);
            let same = all.filter(|(known, _)| known.is_same_server(server));
            // One port may have been listed with both schemes.
            same.max_by_key(|(known, _)| known.scheme == server.scheme).map(|(_, health)| Arc::clone(health))
        };
        let health: Box<[_]> =
            settings.servers.iter().map(|server| known(server).unwrap_or_default()).collect();
        if settings.health.is_none() {
            // Nothing would end what checks had found.
            health.iter().for_each(|health| _ = health.check_passed());
        }
        let turn = previous.map_or(0, |(_, pool)| pool.turn.mine().load(Ordering::Relaxed));
        let weights: Vec<u64> =
            settings.servers.iter().map(|server| u64::from(server.weight.get())).collect();
        let turn = Spread::for_cores(|worker| AtomicU64::new(turn.wrapping_add(worker as u64)));
        Self { round: round(&reduced(&weights)).into(), health, turn }
    }

    /// The index of the next server: one that takes requests and is not in `tried`; if none does, any not tried.
    /// `None` when all have been tried.
    pub fn choose(&self, tried: &[usize], now: Monotonic) -> Option<usize> {
        let turn = usize::try_from(self.turn.mine().fetch_add(1, Ordering::Relaxed)).unwrap_or_default();
        let from = turn.checked_rem(self.round.len()).unwrap_or_default();
        let order = || self.round.iter().cycle().skip(from).take(self.round.len()).copied();
        let untried = |server: &usize| !tried.contains(server);
        order()
            .filter(untried)
            .find(|server| self.health(*server).is_some_and(|health| health.admits(now)))
            .or_else(|| order().find(untried))
    }

    /// The health of a server; `None` if there is no such server.
    pub fn health(&self, server: usize) -> Option<&Health> {
        self.health.get(server).map(AsRef::as_ref)
    }
}

/// `weights` divided so that their sum is at most [`LONGEST_ROUND`], none of them zero.
fn reduced(weights: &[u64]) -> Vec<u64> {
    let sum: u64 = weights.iter().sum();
    if sum <= LONGEST_ROUND {
        return weights.to_vec();
    }
    weights.iter().map(|weight| (weight * LONGEST_ROUND / sum).max(1)).collect()
}

/// One round of smooth weighted round robin: at each step the server that is furthest behind its share.
fn round(weights: &[u64]) -> Vec<usize> {
    let total: u64 = weights.iter().sum();
    let mut given = vec![0_u64; weights.len()];
    (1..=total)
        .filter_map(|step| {
            let behind = |index: usize| {
                let weight = weights.get(index).copied().unwrap_or_default();
                let due = i128::from(weight) * i128::from(step);
                due - i128::from(given.get(index).copied().unwrap_or_default()) * i128::from(total)
            };
            let next = (0..weights.len()).max_by_key(|index| (behind(*index), usize::MAX - index))?;
            if let Some(count) = given.get_mut(next) {
                *count += 1;
            }
            Some(next)
        })
        .collect()
}
