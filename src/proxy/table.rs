//! The table of client connections: how many there are, and how many of them come from each address.
//!
//! Addresses are counted exactly, in maps that hold an address for as long as it is connected: so there are never more of
//! them than `max_connections`, and nobody is refused for whom they share a cell with, as in a sketch of constant size.
//! A map is locked when a connection opens and when it ends, never for a request.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use prometheus::IntGauge;

use crate::auth::client_address::network;
use crate::config::Limits;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Counter;

/// Maps, so that connections from many addresses do not wait for one lock.
const SHARDS: usize = 16;

/// All connections, and those of each address.
pub struct Table {
    connections: IntGauge,
    full: Counter,
    crowded: Counter,
    /// Seeded anew in each process: nobody can choose addresses that fall together.
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("connections", &self.connections.get()).finish_non_exhaustive()
    }
}

impl Table {
    /// Without a connection; counted in `metrics`.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            connections: metrics.connections.clone(),
            full: metrics.connections_refused("all"),
            crowded: metrics.connections_refused("address"),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        })
    }

    /// A place for a connection from `peer`; `None` if there is none left, or none for this address: IPv6 addresses
    /// count by their /64, IPv4-mapped ones as IPv4, and a proxy that is `trusted` has no bound of its own.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, limits: &Limits, trusted: &[IpNet]) -> Option<Place> {
        let peer = peer.to_canonical();
        self.connections.inc();
        let mut place = Place { table: Arc::clone(self), network: None };
        if self.connections.get() > i64::from(limits.max_connections.get()) {
            self.full.inc();
            return None;
        }
        if trusted.iter().any(|net| net.contains(&peer)) {
            return Some(place);
        }
        let network = network(peer);
        if !self.enter_from(network, limits.connections_per_address()) {
            self.crowded.inc();
            return None;
        }
        place.network = Some(network);
        Some(place)
    }

    fn enter_from(&self, network: IpAddr, most: u32) -> bool {
        let mut shard = self.shard(network);
        let count = shard.entry(network).or_default();
        let has_room = *count < most;
        *count += u32::from(has_room);
        has_room
    }

    fn leave(&self, network: IpAddr) {
        let mut shard = self.shard(network);
        let Some(count) = shard.get_mut(&network) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            shard.remove(&network);
            // After a crowd has gone its memory goes, too.
            if shard.is_empty() {
                shard.shrink_to_fit();
            }
        }
    }

    fn shard(&self, network: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let index = usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or(0);
        // The remainder is always below the count.
        let [first, ..] = &self.shards;
        self.shards.get(index).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the connections in the table; counted until dropped.
pub(super) struct Place {
    table: Arc<Table>,
    network: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.connections.dec();
        if let Some(network) = self.network {
            self.table.leave(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::{Place, Table};
    use crate::config::{Config, parse};
    use crate::telemetry::metrics::Metrics;

    struct Door {
        table: Arc<Table>,
        metrics: Arc<Metrics>,
        config: Config,
    }

    impl Door {
        fn new(yaml: &str) -> Self {
            let metrics = Metrics::new().unwrap();
            let config = parse(yaml, "gateway.yaml", &BTreeMap::new(), Path::new("")).unwrap();
            Self { table: Table::new(&metrics), metrics, config }
        }

        fn enter(&self, peer: &str) -> Option<Place> {
            self.table.enter(peer.parse().unwrap(), &self.config.limits, &self.config.trusted_proxies)
        }

        fn addresses(&self) -> usize {
            self.table.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
        }

        fn refused(&self) -> (u64, u64) {
            (self.metrics.connections_refused("all").get(), self.metrics.connections_refused("address").get())
        }
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_again() {
        let door = Door::new("limits: {max_connections: 100, max_connections_per_address: 2}");
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ] {
            let mut held = vec![door.enter(one).unwrap(), door.enter(same).unwrap()];
            assert!(door.enter(one).is_none() && door.enter(same).is_none());
            held.push(door.enter(other).unwrap());
            held.swap_remove(0);
            held.push(door.enter(same).unwrap());
            assert!(door.enter(one).is_none());
            assert_eq!(door.metrics.connections.get(), 3);
        }
        assert_eq!(door.refused(), (0, 6));
        assert_eq!(
            (door.metrics.connections.get(), door.addresses()),
            (0, 0),
            "nothing stays of who has left"
        );
    }

    #[test]
    fn a_trusted_proxy_has_no_bound_of_its_own_and_a_place_like_any_other() {
        let door = Door::new(
            "trusted_proxies: [10.0.0.0/8]\nlimits: {max_connections: 5, max_connections_per_address: 1}",
        );
        let held: Vec<_> = (0..4).map(|_| door.enter("::ffff:10.1.2.3").unwrap()).collect();
        assert_eq!(door.addresses(), 0);
        let other = door.enter("192.0.2.1").unwrap();
        assert!(door.enter("10.1.2.3").is_none() && door.enter("192.0.2.2").is_none());
        assert_eq!((door.refused(), door.addresses()), ((2, 0), 1));
        drop((held, other));
        assert_eq!(door.metrics.connections.get(), 0);
    }

    #[test]
    fn by_default_no_address_takes_more_than_half() {
        let door = Door::new("limits: {max_connections: 5}");
        let held: Vec<_> = (0..3).map(|_| door.enter("192.0.2.1").unwrap()).collect();
        assert!(door.enter("192.0.2.1").is_none());
        assert!(door.enter("192.0.2.2").is_some());
        drop(held);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_are_connected() {
        let door = Door::new("limits: {max_connections: 1000}");
        let mut held = std::collections::VecDeque::new();
        for number in 0..100_000_u32 {
            if held.len() == 1000 {
                held.pop_front();
            }
            held.push_back(door.enter(&std::net::Ipv4Addr::from(number).to_string()).unwrap());
            assert!(door.addresses() <= 1000);
        }
        drop(held);
        assert_eq!(door.addresses(), 0);
    }
}
