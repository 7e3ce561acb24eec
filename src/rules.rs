//! The one list of rules. To add a rule: write `src/rules/<fault>.rs`, add its name here, add `tests/fixtures/<fault>/`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::rule::Rule;

macro_rules! rules {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+
        /// Every rule. Where two could speak about one link, the first does.
        pub static ALL: &[&Rule] = &[$(&$name::RULE),+];
    };
}

rules! {
    service_selects_nothing,
    service_port_unresolved,
    ingress_service_missing,
    ingress_port_missing,
    probe_port_unresolved,
    prestop_missing,
    prestop_exceeds_grace,
    prestop_no_delay,
    grace_too_short,
    ingress_timeout_exceeds_drain,
    readiness_missing,
    publish_not_ready_exposed,
    mesh_sidecar_exits_first,
}

/// The rule of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().find(|rule| rule.id == id).copied()
}
