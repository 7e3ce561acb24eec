//! (to come)
use std::sync::Arc;

use super::{Parsed, Source};

pub(super) fn parse(_source: &Arc<Source>) -> Parsed {
    Parsed::default()
}
