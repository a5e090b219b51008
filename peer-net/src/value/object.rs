//! Objects that keep the order of their keys.

use std::collections::HashMap;

use super::Value;

/// Members by name, in order. Equal to another whatever the order, as a JavaScript programmer
/// expects.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Value)>);

/// From so many members on, duplicates are found by hashing.
const HASHED_FROM: usize = 16;

impl Object {
    /// An empty object.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The member of that name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Sets a member. A new one goes to the end; returns what was there before.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => Some(core::mem::replace(old, value)),
            None => {
                self.0.push((key, value));
                None
            }
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(index).1)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if self.0 == other.0 {
            return true;
        }
        let members: HashMap<_, _> = other.iter().collect();
        self.iter()
            .all(|(key, value)| members.get(key).is_some_and(|there| *there == value))
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    /// Of members with one name the last value wins, at the place of the first, as in JavaScript.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let members = members
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        Self::from_members(members.collect())
    }
}

impl Object {
    pub(super) fn from_members(mut members: Vec<(String, Value)>) -> Self {
        if members.len() < HASHED_FROM {
            let mut object = Self(Vec::with_capacity(members.len()));
            for (key, value) in members {
                object.insert(key, value);
            }
            return object;
        }
        let mut places = HashMap::with_capacity(members.len());
        let mut moves = Vec::new();
        for (index, (key, _)) in members.iter().enumerate() {
            if let Some(&first) = places.get(key.as_str()) {
                moves.push((index, first));
            } else {
                places.insert(key.as_str(), index);
            }
        }
        drop(places);
        if moves.is_empty() {
            return Self(members);
        }
        let mut doomed = vec![false; members.len()];
        for (from, to) in moves {
            let value = core::mem::take(&mut members[from].1);
            members[to].1 = value;
            doomed[from] = true;
        }
        let mut doomed = doomed.into_iter();
        members.retain(|_| !doomed.next().unwrap_or(false));
        Self(members)
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
