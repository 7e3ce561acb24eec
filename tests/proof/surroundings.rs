//! When, where and with what a proof was run.

use std::{fs, thread};

use crate::{VERSION, cluster::error::Error, node};

/// Today, in UTC.
pub(crate) fn date() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// What took part.
pub(crate) fn versions() -> Result<Vec<(String, String)>, Error> {
    let own = ("no502".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Ok([own].into_iter().chain(node::binaries::versions(VERSION)?).collect())
}

/// Cores, memory and kernel. What cannot be found out is left out.
pub(crate) fn machine() -> String {
    const KIB_A_GIB: u64 = 1 << 20;
    let cores = thread::available_parallelism().map(|cores| format!("{cores} cores")).ok();
    let total = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:").map(str::to_owned))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(total);
    let memory = memory.map(|kib| format!("{} GiB", kib.div_ceil(KIB_A_GIB)));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let short = |text: String| text.trim().split('.').take(2).collect::<Vec<_>>().join(".");
    let kernel = kernel.map(|release| format!("Linux {}", short(release)));
    [cores, memory, kernel].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
