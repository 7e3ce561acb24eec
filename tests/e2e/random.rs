//! Numbers that are the same in every run.

use serde_json::Value;

/// A linear congruential generator, with the constants of Knuth's MMIX.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end.max(1)
    }

    /// True in about `percent` of the cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The value in about `percent` of the cases, else null.
    pub(crate) fn maybe(&mut self, percent: usize, value: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.chance(percent) { value(self) } else { Value::Null }
    }
}
