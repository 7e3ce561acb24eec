//! The caller's deadline: the API server says in `?timeout=3s` how long it will wait.

use std::time::Duration;

/// The API server never waits longer.
const TIMEOUT_SECONDS_MAX: u64 = 30;
/// Bytes of a duration; `720h0m0.000000001s` is longer than any that makes sense.
const DURATION_BYTES_MAX: usize = 20;

/// How long an answer may take: nine tenths of what the caller grants, for the way back. `None` if the query does not
/// say, or not in a way that Go would write it.
pub(super) fn from_query(query: Option<&str>) -> Option<Duration> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let granted = go_duration(value)?.min(Duration::from_secs(TIMEOUT_SECONDS_MAX));
    Some(granted * 9 / 10)
}

/// `3s`, `1m30s`, `1.5s`, `800ms`.
fn go_duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > DURATION_BYTES_MAX {
        return None;
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
        let unit = rest[number..].find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len() - number);
        let count: f64 = rest[..number].parse().ok().filter(|count: &f64| count.is_finite() && *count >= 0.0)?;
        seconds += count * unit_seconds(&rest[number..number + unit])?;
        rest = &rest[number + unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "h" => Some(3600.0),
        "m" => Some(60.0),
        "s" => Some(1.0),
        "ms" => Some(1e-3),
        "us" => Some(1e-6),
        "ns" => Some(1e-9),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_writes_is_read() {
        for (query, granted_ms) in [
            ("timeout=3s", 3_000),
            ("timeout=10s", 10_000),
            ("dryRun=All&timeout=1.5s", 1_500),
            ("timeout=800ms", 800),
            ("timeout=1m0s", 30_000),
            ("timeout=9999999h", 30_000),
            ("timeout=0s", 0),
        ] {
            assert_eq!(from_query(Some(query)), Some(Duration::from_millis(granted_ms) * 9 / 10), "{query}");
        }
    }

    #[test]
    fn nonsense_is_no_deadline() {
        for query in [
            "",
            "timeout=",
            "timeout=3",
            "timeout=s",
            "timeout=-3s",
            "timeout=NaNs",
            "timeout=3parsec",
            "timeout=3s%20",
        ] {
            assert_eq!(from_query(Some(query)), None, "{query}");
        }
        assert_eq!(from_query(None), None);
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".{0,40}") {
            let _ = from_query(Some(&format!("timeout={query}")));
        }
    }
}
