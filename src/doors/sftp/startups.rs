//! Connections that have not logged in yet. When there are too many, the oldest of the source that holds most gives
//! way: whoever holds connections open only displaces itself, and a login that takes a second or two always ends.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The startups of one server, by source.
#[derive(Debug)]
pub(crate) struct Startups<T> {
    inner: Mutex<Inner<T>>,
    max: usize,
    per_source_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    sources: HashMap<IpAddr, VecDeque<(u64, T)>>,
    count: usize,
}

impl<T> Startups<T> {
    pub(crate) fn new(max: usize, per_source_max: usize) -> Self {
        let inner = Mutex::new(Inner { sources: HashMap::new(), count: 0 });
        Self { inner, max: max.max(1), per_source_max: per_source_max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection; the one returned must go.
    pub(crate) fn add(&self, address: IpAddr, id: u64, connection: T) -> Option<T> {
        let source = source(address);
        let mut inner = self.lock();
        let crowded = inner.sources.get(&source).is_some_and(|own| own.len() >= self.per_source_max);
        let from = if crowded {
            Some(source)
        } else if inner.count >= self.max {
            inner.sources.iter().max_by_key(|(_, own)| own.len()).map(|(source, _)| *source)
        } else {
            None
        };
        let displaced = from.and_then(|from| {
            let own = inner.sources.get_mut(&from)?;
            let displaced = own.pop_front();
            if own.is_empty() {
                inner.sources.remove(&from);
            }
            displaced
        });
        inner.count -= usize::from(displaced.is_some());
        inner.sources.entry(source).or_default().push_back((id, connection));
        inner.count += 1;
        displaced.map(|(_, connection)| connection)
    }

    /// It logged in or went away. Does nothing when it was displaced before.
    pub(crate) fn remove(&self, address: IpAddr, id: u64) {
        let source = source(address);
        let mut inner = self.lock();
        let Some(own) = inner.sources.get_mut(&source) else { return };
        let before = own.len();
        own.retain(|(other, _)| *other != id);
        let gone = before - own.len();
        if own.is_empty() {
            inner.sources.remove(&source);
        }
        inner.count -= gone;
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }
}

/// Whom an address counts for: an IPv4 address, or the /64 of an IPv6 address, which one subscriber has whole.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_greediest_source_gives_way() {
        let startups = Startups::new(4, 3);
        let (greedy, modest) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!(startups.add(greedy, 1, 1), None);
        assert_eq!(startups.add(greedy, 2, 2), None);
        assert_eq!(startups.add(greedy, 3, 3), None);
        assert_eq!(startups.add(greedy, 4, 4), Some(1), "its own bound");
        assert_eq!(startups.add(modest, 5, 5), None);
        assert_eq!(startups.add(modest, 6, 6), Some(2), "everybody's bound");
        assert_eq!(startups.count(), 4);
        startups.remove(greedy, 1);
        assert_eq!(startups.count(), 4, "displaced before");
        for id in 3..=6 {
            startups.remove(greedy, id);
            startups.remove(modest, id);
        }
        assert_eq!(startups.count(), 0);
        assert!(startups.lock().sources.is_empty());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_source() {
        let a: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let b: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
        let c: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(source(a), source(b));
        assert_ne!(source(a), source(c));
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
