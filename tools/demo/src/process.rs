//! Programs that run beside this one: started as a process group of their own, ended as a group, whatever happens here.
//!
//! `wrangler dev` starts further processes; ending only the first would leave workerd running. The group gets SIGTERM, a few
//! seconds to end, then SIGKILL; dropping a [`ProcessGroup`] does the same, so that an error or a panic here leaves nothing behind.
//! Out of scope: this program being killed with SIGKILL, which nothing can react to.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a group may take to end by itself. wrangler shuts workerd down in well under a second.
const GRACE: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(5) };
const POLL: Duration = Duration::from_millis(50);

/// A running program with everything that it started.
pub(crate) struct ProcessGroup {
    child: Child,
    name: &'static str,
    log: PathBuf,
    ended: bool,
}

impl ProcessGroup {
    /// Starts `command` without input; its output goes to the file `log`.
    ///
    /// # Errors
    /// The log cannot be written or the program cannot be started.
    pub(crate) fn start(mut command: Command, name: &'static str, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name, log: log.to_owned(), ended: false })
    }

    /// An error with the last lines that the program wrote, if it has ended although it should be running.
    ///
    /// # Errors
    /// The program has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        Err(self.died(status))
    }

    /// The last `count` lines of the log.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Ends the whole group and waits until its first process is gone.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.signal(Signal::TERM);
        let mut waited = Duration::ZERO;
        while matches!(self.child.try_wait(), Ok(None)) && waited < GRACE {
            std::thread::sleep(POLL);
            waited += POLL;
        }
        // Also when the first process has ended: what it left behind still belongs to the group.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        // A group without members is what is wanted, so the error that says so is none.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn died(&self, status: ExitStatus) -> anyhow::Error {
        anyhow::anyhow!(
            "{} has ended by itself ({status}). Its last lines, from {}:\n{}",
            self.name,
            self.log.display(),
            self.last_lines(15)
        )
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("gateway-demo-{name}-{}.log", std::process::id()))
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..200 {
            if condition() {
                return;
            }
            std::thread::sleep(POLL);
        }
        panic!("waited in vain until {what}");
    }

    #[test]
    fn ending_a_group_ends_what_its_program_started() {
        let log = log("group");
        let mut group = ProcessGroup::start(shell("sleep 600 & echo $!; wait"), "a shell", &log).expect("it starts");
        wait_for("the shell names its child", || !group.last_lines(1).is_empty());
        let grandchild = group.last_lines(1).trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        group.end();
        wait_for("the child of the shell is gone", || {
            // A process that was not waited for yet exists, but does nothing any more.
            let state = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.as_raw_nonzero()));
            state.map_or_else(|_| rustix::process::test_kill_process(grandchild).is_err(), |text| text.contains(") Z "))
        });
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_program_that_ended_by_itself_is_reported_with_its_last_lines() {
        let log = log("died");
        let mut group =
            ProcessGroup::start(shell("echo first; echo the reason >&2; exit 3"), "a shell", &log).expect("it starts");
        let mut error = None;
        wait_for("the shell has ended", || {
            error = group.check_running().err().map(|error| error.to_string());
            error.is_some()
        });
        let error = error.expect("the loop ended with it");
        assert!(error.contains("a shell") && error.contains("the reason") && error.contains('3'), "{error}");
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_group_that_ignores_the_request_to_end_is_killed() {
        let log = log("stubborn");
        let mut group =
            ProcessGroup::start(shell("trap '' TERM; echo ready; while :; do sleep 1; done"), "a shell", &log)
                .expect("it starts");
        wait_for("the shell is ready", || group.last_lines(1) == "ready");
        group.end();
        assert!(group.child.try_wait().expect("it was waited for").is_some());
        let _ = std::fs::remove_file(log);
    }
}
