//! `no502 fix --undo --live` against an API server in memory.
