//! Full lists of a watch: what is known stays until the list has ended, and is gone then if the list did not name it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::hash::Hash;

use rustc_hash::FxHashSet;

/// One list after the other, of things that are named by `K`.
#[derive(Debug)]
pub(crate) struct Listing<K> {
    /// Named since the list began; `None` while there is no list.
    seen: Option<FxHashSet<K>>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { seen: None }
    }
}

impl<K: Eq + Hash> Listing<K> {
    /// A list begins, from the start.
    pub(crate) fn start(&mut self) {
        self.seen = Some(FxHashSet::default());
    }

    /// This is there, by the list or by the watch.
    pub(crate) fn see(&mut self, name: K) {
        if let Some(seen) = &mut self.seen {
            seen.insert(name);
        }
    }

    /// This has been deleted.
    pub(crate) fn forget(&mut self, name: &K) {
        if let Some(seen) = &mut self.seen {
            seen.remove(name);
        }
    }

    /// The list is complete: what of `known` is gone. Nothing is, if no list began.
    pub(crate) fn finish<'a>(&mut self, known: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: Clone + 'a,
    {
        let Some(seen) = self.seen.take() else { return Vec::new() };
        known.into_iter().filter(|it| !seen.contains(*it)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_list_does_not_name_is_gone() {
        let mut listing = Listing::default();
        assert!(listing.finish(&[1]).is_empty(), "no list began");
        listing.see(1);
        listing.start();
        listing.see(2);
        listing.see(3);
        listing.forget(&3);
        assert_eq!(listing.finish(&[1, 2, 3, 4]), [1, 3, 4]);
        assert!(listing.finish(&[1]).is_empty(), "it ends once");

        listing.start();
        listing.see(1);
        listing.start();
        assert_eq!(listing.finish(&[1]), [1], "a list that begins again names everything again");
    }
}
