//! Starts the program, and peers for it to talk to.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on a busy machine; only a fault waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, not started yet.
pub(crate) fn shop(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(args).env("HOSTNAME", "pod-1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started program; killed when the test is over.
#[derive(Debug)]
pub(crate) struct Started(pub(crate) Child);

impl Started {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self(shop(args).spawn().expect("the program was built for this test"))
    }

    /// `shop serve` on a port of its own choice, as soon as it listens there.
    pub(crate) fn serve(args: &[&str]) -> (Self, SocketAddr) {
        let mut started = Self::new(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        let mut line = String::new();
        let stdout = started.0.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says that it listens");
        let address = line.rsplit(' ').next().and_then(|address| address.trim().parse().ok());
        (started, address.expect("the line ends with the address"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it still runs");
    }

    /// Waits for the end, which has to come in time.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("it is a child") {
                return status;
            }
            assert!(start.elapsed() < limit, "still runs after {limit:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A line of the file that `shop load` wrote.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) at_ms: u64,
    pub(crate) took_ms: u64,
    pub(crate) end: String,
}

/// What is left of a load.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) records: Vec<Record>,
}

impl Loaded {
    /// Every different end, once.
    pub(crate) fn ends(&self) -> Vec<&str> {
        let mut ends: Vec<_> = self.records.iter().map(|record| record.end.as_str()).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// The times between due requests that are off the grid by more than the rounding to milliseconds.
    pub(crate) fn gaps_other_than(&self, ms: u64) -> Vec<u64> {
        let mut due: Vec<_> = self.records.iter().map(|record| record.at_ms).collect();
        due.sort_unstable();
        due.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| gap.abs_diff(ms) > 1).collect()
    }

    pub(crate) fn count(&self, end: &str) -> usize {
        self.records.iter().filter(|record| record.end == end).count()
    }
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Loading {
    pub(crate) program: Started,
    out: PathBuf,
}

impl Loading {
    pub(crate) fn start(url: &str, args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("load-{}-{}.csv", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let path = out.to_str().expect("the target folder has a plain name");
        Self { program: Started::new(&[&["load", url, "--out", path], args].concat()), out }
    }

    /// What is in the file by now.
    pub(crate) fn records(&self) -> Vec<Record> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let mut lines = text.lines();
        let Some(heading) = lines.next() else { return Vec::new() };
        assert_eq!(heading, "at_ms,took_ms,end");
        lines.map(record).collect()
    }

    pub(crate) fn finish(mut self) -> Loaded {
        let code = self.program.ended_within(PATIENCE).code();
        let mut stdout = String::new();
        let pipe = self.program.0.stdout.as_mut().expect("it is piped");
        pipe.read_to_string(&mut stdout).expect("the summary is text");
        let records = self.records();
        std::fs::remove_file(&self.out).expect("the load wrote it");
        Loaded { code, stdout, records }
    }
}

/// A whole load.
pub(crate) fn load(url: &str, args: &[&str]) -> Loaded {
    Loading::start(url, args).finish()
}

fn record(line: &str) -> Record {
    let fields: Vec<_> = line.split(',').collect();
    assert_eq!(fields.len(), 3, "{line:?}");
    let number = |text: &str| text.parse().expect("the first two fields are numbers");
    Record { at_ms: number(fields[0]), took_ms: number(fields[1]), end: fields[2].to_owned() }
}

/// A peer on a port of its own: every connection is handled by a thread of its own.
pub(crate) fn peer(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    url
}

/// A port where nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    listener.local_addr().expect("it is bound")
}

/// Reads the head of one request; nothing if the other side has closed.
pub(crate) fn read_request(stream: &mut TcpStream) -> Option<String> {
    read_until(stream, "\r\n\r\n")
}

/// Sends a request on an open connection.
pub(crate) fn write_request(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n").expect("the connection is open");
}

/// The status and the body of an answer with a length; nothing if it did not come whole.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Option<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let head = read_until(stream, "\r\n\r\n")?.to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, String::from_utf8(body).ok()?))
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write_request(&mut stream, path);
    read_answer(&mut stream)
}

/// Asks until the answer is the wanted one.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "nothing after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read_until(stream: &mut TcpStream, end: &str) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        read.extend(byte);
    }
    String::from_utf8(read).ok()
}
