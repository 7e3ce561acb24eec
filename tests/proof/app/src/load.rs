//! The load generator: requests are due on a fixed grid of time and are sent whatever became of the earlier ones, so that
//! an outage counts in full.

mod end;
mod exchange;
mod pool;
mod record;
mod summary;
mod target;

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, interval_at},
};

use self::{
    end::End,
    exchange::Exchange,
    pool::Keep,
    record::{Record, RecordFile},
    summary::Summary,
    target::Target,
};
use crate::{seconds, serve::EndSignals};

/// Requests that may be under way at a time. One that is due above it is not sent, and counts as failed.
const IN_FLIGHT_MAX: usize = 1000;
/// A record waits at most this long until it is in the file, for those who read it while the load runs.
const FLUSH_MS: u64 = 200;
const PROGRESS_MS: u64 = 1000;
/// Open files: every connection takes two, and the usual limit of 1024 is too low for `IN_FLIGHT_MAX` of them.
const OPEN_FILES_MAX: u64 = 4096;

/// What is asked, how often and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to ask for, as `http://HOST[:PORT]/PATH`. A name is looked up once, at the start.
    url: String,
    /// The Host header, if not the one of the URL.
    #[arg(long, value_name = "HEADER")]
    host: Option<String>,
    /// Requests a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Milliseconds until a request without a whole answer has failed, connecting included.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
    /// Keep connections and use them in turn, or open a new one for every request.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Keep::Keep)]
    connections: Keep,
    /// Seconds until no more requests are due; until SIGTERM or SIGINT if not given. A SIGINT after that gives up what is
    /// under way.
    #[arg(long, value_parser = some_seconds)]
    seconds: Option<Duration>,
    /// A file for one line a request: when it was due (Unix ms), how long it took (ms), how it ended.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Sends the load, writes the records and the summary.
///
/// # Errors
///
/// A URL that cannot be used, a file that cannot be written.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut end = EndSignals::new()?;
    raise_open_files();
    let target = Target::find(&args.url, args.host.as_deref()).await?;
    let file = args.out.as_deref().map(RecordFile::create).transpose()?;
    let what = target.to_string();
    let exchange = Exchange::new(target, args.connections, Duration::from_millis(args.timeout_ms));
    let mut load = Load::new(&args, exchange, file);

    load.run(&mut end).await?;
    crate::say(&load.summary.text(&what, load.start.elapsed()));
    let is_good = load.summary.failed() == 0 && load.summary.given_up == 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reads a time in which something is measured.
fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text)
        .and_then(|time| if time.is_zero() { Err("nothing is measured in no time".to_owned()) } else { Ok(time) })
}

/// A load under way.
#[derive(Debug)]
struct Load {
    start: Instant,
    start_unix: Duration,
    /// Requests that are still to be sent.
    left: u64,
    due: Interval,
    exchange: Arc<Exchange>,
    in_flight: JoinSet<Record>,
    file: Option<RecordFile>,
    summary: Summary,
    /// Whether somebody watches.
    terminal: bool,
}

impl Load {
    fn new(args: &Args, exchange: Exchange, file: Option<RecordFile>) -> Self {
        let start = Instant::now();
        let mut due = interval_at(start, Duration::from_secs(1) / args.rate);
        // Held up, this process sends what it owes instead of leaving it out.
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self {
            start,
            // A clock before 1970 only moves the records.
            start_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            left: args.seconds.map_or(u64::MAX, |seconds| requests_in(seconds, args.rate)),
            due,
            exchange: Arc::new(exchange),
            in_flight: JoinSet::new(),
            file,
            summary: Summary::default(),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    async fn run(&mut self, end: &mut EndSignals) -> anyhow::Result<()> {
        let mut flush = interval(Duration::from_millis(FLUSH_MS));
        let mut progress = interval(Duration::from_millis(PROGRESS_MS));
        while self.left > 0 || !self.in_flight.is_empty() {
            tokio::select! {
                due = self.due.tick(), if self.left > 0 => {
                    self.left -= 1;
                    self.send(due)?;
                }
                Some(record) = self.in_flight.join_next() => {
                    self.note(&record.context("a request ended the load generator's own task")?)?;
                }
                _ = flush.tick() => self.flush()?,
                _ = progress.tick(), if self.terminal => self.summary.show_progress(self.start.elapsed(), self.in_flight.len()),
                () = asked_to_end(end, self.left > 0) => {
                    if self.left == 0 {
                        self.summary.given_up = self.in_flight.len();
                        break;
                    }
                    self.left = 0;
                }
            }
        }
        self.flush()
    }

    fn send(&mut self, due: Instant) -> anyhow::Result<()> {
        let after = due.duration_since(self.start);
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.summary.explain_other(&format!("not sent: {IN_FLIGHT_MAX} requests were under way"));
            return self.note(&Record { after, took: Duration::ZERO, end: End::Other, fault: None });
        }
        let exchange = Arc::clone(&self.exchange);
        self.in_flight.spawn(async move {
            let (end, fault) = exchange.once().await;
            // From when it was due, not from when it was sent: a caller waits for both.
            Record { after, took: due.elapsed(), end, fault }
        });
        Ok(())
    }

    fn note(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.write(self.start_unix, record)?;
        }
        self.summary.add(record);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.file.as_mut().map_or(Ok(()), RecordFile::flush)
    }
}

/// Waits for a signal: any while requests are sent, and one that is meant to cut while they only end.
async fn asked_to_end(end: &mut EndSignals, is_sending: bool) {
    if is_sending {
        end.recv().await;
    } else {
        end.interrupted().await;
    }
}

/// How many requests are due in that time: the first at once, none at its very end.
fn requests_in(time: Duration, rate: u32) -> u64 {
    let nanos = time.as_nanos() * u128::from(rate);
    u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// As far as the system lets: requests that then find no file free end as `other`, and the summary says why.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES_MAX, |maximum| maximum.min(OPEN_FILES_MAX));
    if current.is_some_and(|current| current < wanted) {
        _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
