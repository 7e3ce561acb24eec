//! How a request ended, and the word for it in a record. The proof, which reads what the load has written, includes this file.

use std::{fmt, str::FromStr};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// An answer of 2xx, read to its end.
    Ok,
    /// Nobody listened.
    Refused,
    /// The connection was reset or closed before the whole answer was there.
    Reset,
    /// No answer in time, the connection included.
    Timeout,
    /// No way to the address.
    Unreachable,
    /// Another status: 502, 503, 504, ...
    Status(u16),
    /// Anything else, a fault of the load generator included.
    Other,
}

impl End {
    pub(crate) fn is_failure(self) -> bool {
        self != Self::Ok
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.pad("ok"),
            Self::Refused => f.pad("refused"),
            Self::Reset => f.pad("reset"),
            Self::Timeout => f.pad("timeout"),
            Self::Unreachable => f.pad("unreachable"),
            Self::Status(code) => f.pad(&code.to_string()),
            Self::Other => f.pad("other"),
        }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "ok" => Self::Ok,
            "refused" => Self::Refused,
            "reset" => Self::Reset,
            "timeout" => Self::Timeout,
            "unreachable" => Self::Unreachable,
            "other" => Self::Other,
            code => Self::Status(code.parse().map_err(|_| format!("{code:?} is not the end of a request"))?),
        })
    }
}
