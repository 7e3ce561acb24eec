//! stub
use crate::trial::E2e;
pub(crate) fn trials() -> Vec<E2e> {
    vec![]
}
