//! The table that the benchmark prints: one line a value, the target and whether it is met beside it.

/// A target of one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Its number, and in words.
    pub(crate) text: &'static str,
    /// The largest value that meets it.
    pub(crate) max: f64,
}

/// One line of a section.
pub(crate) fn line(name: &str, value: &str, measured: f64, target: Option<Target>) {
    let judgement = match target {
        None => String::new(),
        Some(target) => format!("{}  {}", target.text, if measured <= target.max { "met" } else { "NOT MET" }),
    };
    println!("  {name:<58} {value:<46} {judgement}");
}

/// The headline of a section.
pub(crate) fn section(title: &str) {
    println!("\n{title}");
}

/// `12.3 us`.
pub(crate) fn duration(ns: f64) -> String {
    if ns < 1e3 {
        format!("{ns:.0} ns")
    } else if ns < 1e6 {
        format!("{:.1} us", ns / 1e3)
    } else {
        format!("{:.1} ms", ns / 1e6)
    }
}
