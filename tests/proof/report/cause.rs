//! What a cause of failure is called, and which colour it has in every picture.

use super::super::outcome::End;

/// The colour of a cause: dark enough for a white ground, bright enough for a black one.
pub(super) fn colour(end: End) -> &'static str {
    match end {
        End::Status(502) => "#d6336c",
        End::Status(503) => "#e8590c",
        End::Status(504) => "#a67c00",
        End::Refused => "#2f7ed8",
        End::Reset => "#8a5cf0",
        End::Timeout => "#0b8f6f",
        End::Unreachable => "#7a6a5d",
        End::Status(_) => "#b0455a",
        End::Ok | End::Other => "#77808a",
    }
}

/// The cause in a legend.
pub(super) fn name(end: End) -> String {
    match end {
        End::Timeout => "timed out".to_owned(),
        other => other.to_string(),
    }
}

/// So many failures of one cause: `16 × 503`, `2 reset`.
pub(super) fn counted(end: End, count: &str) -> String {
    match end {
        End::Status(code) => format!("{count} × {code}"),
        other => format!("{count} {}", name(other)),
    }
}

/// The cause in a sentence, for those who did not write the load generator.
pub(super) fn meaning(end: End) -> &'static str {
    match end {
        End::Ok => "answered with 2xx",
        End::Refused => "nobody listened at the address, or the Service had no pod at all",
        End::Reset => "the connection was closed before the whole answer was there",
        End::Timeout => "no answer in time",
        End::Unreachable => "no way to the address, because the pod and its address were gone already",
        End::Status(404) => "the load balancer knew no way for the request",
        End::Status(502) => "the load balancer got no valid answer from a pod",
        End::Status(503) => "the load balancer had no pod to ask or reached none, or a pod was not ready to answer",
        End::Status(504) => "the load balancer got no answer from a pod in time",
        End::Status(_) => "answered with this status instead of 2xx",
        End::Other => "anything else, faults of the load generator included",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What WCAG asks of graphics.
    const CONTRAST_MIN: f64 = 3.0;

    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        let linear = |c: f64| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        0.2126 * linear(channel(1)) + 0.7152 * linear(channel(3)) + 0.0722 * linear(channel(5))
    }

    #[test]
    fn every_colour_is_seen_on_both_grounds() {
        let ends = [End::Refused, End::Reset, End::Timeout, End::Unreachable, End::Other];
        for end in ends.into_iter().chain([500, 502, 503, 504].map(End::Status)) {
            for ground in ["#ffffff", "#14171c"] {
                let (a, b) = (luminance(colour(end)) + 0.05, luminance(ground) + 0.05);
                let contrast = a.max(b) / a.min(b);
                assert!(contrast >= CONTRAST_MIN, "{end} on {ground}: {contrast:.2}");
            }
        }
    }
}
