//! A bounded memory: values by key, each with a weight and a birth. Past the capacity the value longest unused goes
//! first; past the lifetime a value is gone. The time is an argument; nothing is written anywhere.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub mod kept;

/// A memory of at most `capacity` units of weight.
pub struct Cache<K, V> {
    capacity: u64,
    /// None: a value lives until it is pushed out. Zero: nothing is kept.
    lifetime: Option<Duration>,
    // Never held across an await.
    inner: Mutex<Inner<K, V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty memory.
    #[must_use]
    pub fn new(capacity: u64, lifetime: Option<Duration>) -> Self {
        let inner = Inner { entries: HashMap::new(), order: BTreeMap::new(), used: 0, tick: 0 };
        Self { capacity, lifetime, inner: Mutex::new(inner) }
    }

    /// The value of a key.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.lock().get(key, self.lifetime, now)
    }

    /// Keeps a value, unless it alone is heavier than the capacity.
    pub fn insert(&self, key: K, value: V, weight: u64, now: Instant) {
        if self.lifetime != Some(Duration::ZERO) {
            self.lock().insert(key, value, weight, self.capacity, now);
        }
    }

    /// The weight of all values.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// The value of a key; where there is none, the one that `make` yields, which is kept. Two callers at once get
    /// the same one.
    pub fn get_or_insert(&self, key: K, weight: u64, now: Instant, make: impl FnOnce() -> V) -> V {
        let mut inner = self.lock();
        if let Some(value) = inner.get(&key, self.lifetime, now) {
            return value;
        }
        let value = make();
        inner.insert(key, value.clone(), weight, self.capacity, now);
        value
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// A panic of another holder leaves at worst a value too few or too many: the memory serves on.
    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys by their last use.
    order: BTreeMap<u64, K>,
    used: u64,
    tick: u64,
}

struct Entry<V> {
    value: V,
    weight: u64,
    born: Instant,
    last_use: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Inner<K, V> {
    fn get(&mut self, key: &K, lifetime: Option<Duration>, now: Instant) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        if lifetime.is_some_and(|lifetime| now.saturating_duration_since(entry.born) >= lifetime) {
            self.remove(key);
            return None;
        }
        self.tick = self.tick.saturating_add(1);
        self.order.remove(&entry.last_use);
        self.order.insert(self.tick, key.clone());
        entry.last_use = self.tick;
        Some(entry.value.clone())
    }

    fn insert(&mut self, key: K, value: V, weight: u64, capacity: u64, now: Instant) {
        self.remove(&key);
        if weight > capacity {
            return;
        }
        while self.used.saturating_add(weight) > capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.tick = self.tick.saturating_add(1);
        self.used = self.used.saturating_add(weight);
        self.order.insert(self.tick, key.clone());
        self.entries.insert(key, Entry { value, weight, born: now, last_use: self.tick });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.used = self.used.saturating_sub(entry.weight);
            self.order.remove(&entry.last_use);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_memory_is_kept_and_one_unit_more_pushes_out_the_longest_unused() {
        let (cache, now) = (Cache::new(4, None), Instant::now());
        cache.insert("a", 1, 2, now);
        cache.insert("b", 2, 2, now);
        assert_eq!((cache.get(&"b", now), cache.get(&"a", now)), (Some(2), Some(1)));
        cache.insert("c", 3, 1, now);
        assert_eq!((cache.get(&"a", now), cache.get(&"b", now), cache.get(&"c", now)), (Some(1), None, Some(3)));
    }

    #[test]
    fn a_value_heavier_than_the_memory_is_not_kept_and_pushes_nothing_out() {
        let (cache, now) = (Cache::new(4, None), Instant::now());
        cache.insert("a", 1, 4, now);
        cache.insert("b", 2, 5, now);
        assert_eq!((cache.get(&"a", now), cache.get(&"b", now)), (Some(1), None));
    }

    #[test]
    fn a_value_put_in_again_weighs_once() {
        let (cache, now) = (Cache::new(4, None), Instant::now());
        for value in 0..9 {
            cache.insert("a", value, 2, now);
        }
        cache.insert("b", 9, 2, now);
        assert_eq!((cache.get(&"a", now), cache.get(&"b", now)), (Some(8), Some(9)));
    }

    #[test]
    fn a_value_is_gone_when_its_lifetime_is_over_and_use_does_not_prolong_it() {
        let (cache, now) = (Cache::new(4, Some(2 * SECOND)), Instant::now());
        cache.insert("a", 1, 1, now);
        assert_eq!(cache.get(&"a", now + SECOND), Some(1));
        assert_eq!(cache.get(&"a", now + 2 * SECOND), None);
        cache.insert("a", 2, 1, now + 2 * SECOND);
        assert_eq!(cache.get(&"a", now + 3 * SECOND), Some(2));
        cache.remove(&"a");
        assert_eq!(cache.get(&"a", now + 3 * SECOND), None);
    }

    #[test]
    fn a_lifetime_of_zero_keeps_nothing() {
        let (cache, now) = (Cache::new(4, Some(Duration::ZERO)), Instant::now());
        cache.insert("a", 1, 1, now);
        assert_eq!(cache.get(&"a", now), None);
        assert!(cache.lock().entries.is_empty());
    }
}
