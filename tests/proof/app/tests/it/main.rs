//! Tests of the real program against the real network of this machine, and against peers that misbehave by hand.

mod load;
mod rig;
mod serve;
mod wrong_use;
