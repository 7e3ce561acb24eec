//! What the commands of hooks and containers tell about time: how long they wait, and whether they do anything else.

use super::wire;

/// `["sleep", "15"]` and nothing else: the form that no502 injects.
pub(super) fn is_bare_sleep(exec: &wire::Exec<'_>) -> bool {
    match exec.command.0.as_slice() {
        [sleep, seconds] => sleep.text() == "sleep" && seconds.text().parse::<i64>().is_ok(),
        _ => false,
    }
}

/// `Start-Sleep 15`, `/wait-shutdown`, `drain.sh`: how long they take is anybody's guess.
pub(super) fn may_wait(exec: &wire::Exec<'_>) -> bool {
    let says_so = |text: &str| ["sleep", "wait", "drain"].iter().any(|it| text.contains(it));
    exec.command.0.iter().any(|it| says_so(&it.text().to_ascii_lowercase()))
}

/// `["/bin/sleep", "infinity"]`, `["sh", "-c", "sleep 1d"]`, `["tail", "-f", "/dev/null"]`.
pub(super) fn is_idle(command: &[wire::Scalar<'_>]) -> bool {
    let words = match command {
        [shell, flags, script] if is_script(shell.text(), flags.text()) => words_of(script.text()),
        _ => return command.first().is_some_and(|it| is_program(it.text(), &["sleep", "tail"])),
    };
    matches!(words.as_slice(), [sleep, _] if is_program(sleep, &["sleep"]))
}

/// Seconds of `["sleep", "15"]`, `["/bin/sh", "-c", "sleep 15"]` and `["sh", "-c", "sleep 15 && nginx -s quit"]`.
pub(super) fn exec_sleep_seconds(exec: &wire::Exec<'_>) -> Option<i64> {
    let command: Vec<&str> = exec.command.0.iter().map(wire::Scalar::text).collect();
    let words = match command.as_slice() {
        [shell, flags, script] if is_script(shell, flags) => words_of(script),
        _ => command,
    };
    match words.as_slice() {
        [sleep, length, ..] if is_program(sleep, &["sleep"]) => sleep_seconds(length),
        _ => None,
    }
}

/// `15`, `15s`, `1m`, `1h`.
fn sleep_seconds(length: &str) -> Option<i64> {
    let unit = length.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(length.len());
    let (number, unit) = length.split_at(unit);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

/// `sh -c`, `bash -ec`.
fn is_script(shell: &str, flags: &str) -> bool {
    is_program(shell, &SHELLS) && flags.starts_with('-') && flags.ends_with('c')
}

/// The words of a script; commands are parted by what a shell parts them by.
fn words_of(script: &str) -> Vec<&str> {
    let is_gap = |letter: char| letter.is_whitespace() || [';', '&', '|'].contains(&letter);
    script.split(is_gap).filter(|it| !it.is_empty()).collect()
}

/// Programs that take a script behind `-c`.
const SHELLS: [&str; 4] = ["sh", "bash", "ash", "dash"];

fn is_program(path: &str, names: &[&str]) -> bool {
    names.contains(&path.rsplit('/').next().unwrap_or(path))
}
