//! Running a child process to its end: output, exit, wall time and peak memory, with a limit.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a child came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
    TimedOut,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(status) => write!(f, "exit {status}"),
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::TimedOut => write!(f, "timed out"),
        }
    }
}

/// What a finished child left behind.
#[derive(Debug)]
pub struct Finished {
    pub end: End,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub wall: Duration,
    /// Processor time of all its threads, user and system: less disturbed than wall time by
    /// whatever else the machine does, but blind to waiting.
    pub processor: Duration,
    /// Peak resident memory in bytes, as the kernel counted it for this child alone. The kernel
    /// starts a child's count at what its parent held, so a process that measures must stay
    /// small itself.
    pub peak_memory: u64,
}

/// Runs `command` with `stdin` from a file (or empty), and kills it after `limit`.
pub fn run_limited(
    command: &mut Command,
    stdin: Option<&Path>,
    limit: Duration,
) -> Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let input = match stdin {
        Some(path) => {
            Stdio::from(File::open(path).with_context(|| format!("opening {}", path.display()))?)
        }
        None => Stdio::null(),
    };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let pid = child.id() as libc::pid_t;

    let (done, until_done) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = until_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            // SAFETY: `pid` is our child and has not been reaped: the main thread does that only
            // after it has joined this one.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        late
    });
    wait_until_dead(pid)?;
    let wall = start.elapsed();
    drop(done);
    let late = watchdog.join().expect("the watchdog does not panic");
    let (status, usage) = reap(pid)?;

    let end = if late {
        End::TimedOut
    } else if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    };
    Ok(Finished {
        end,
        stdout: stdout.join().expect("the reader does not panic").context("reading stdout")?,
        stderr: stderr.join().expect("the reader does not panic").context("reading stderr")?,
        wall,
        processor: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_memory: usage.ru_maxrss as u64 * 1024,
    })
}

/// Runs a tool of which only success is wanted; its output is shown when it fails.
pub fn run_tool(command: &mut Command, purpose: &str) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{purpose}: cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{purpose}: {name} failed ({})\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

/// Blocks until the child has ended, but leaves it unreaped so that its id stays taken.
fn wait_until_dead(pid: libc::pid_t) -> Result<()> {
    loop {
        // SAFETY: all zeroes is a valid `siginfo_t`, and the call only writes to it.
        let outcome = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        match outcome {
            0 => return Ok(()),
            _ if interrupted() => {}
            _ => return Err(io::Error::last_os_error()).context("waiting for a child"),
        }
    }
}

fn reap(pid: libc::pid_t) -> Result<(i32, libc::rusage)> {
    loop {
        let mut status = 0;
        // SAFETY: all zeroes is a valid `rusage`, and the call only writes to it and `status`.
        let (outcome, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &mut status, 0, &mut usage), usage)
        };
        if outcome == pid {
            return Ok((status, usage));
        }
        if !interrupted() {
            return Err(io::Error::last_os_error()).context("reaping a child");
        }
    }
}

fn seconds(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

fn interrupted() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Finished {
        run_limited(Command::new("sh").args(["-c", script]), None, limit).unwrap()
    }

    #[test]
    fn output_and_status_are_passed_on() {
        let run = shell("echo out; echo err >&2; exit 7", Duration::from_secs(20));
        assert_eq!(run.end, End::Exit(7));
        assert_eq!((run.stdout.as_slice(), run.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert!(run.peak_memory > 0);
    }

    #[test]
    fn a_child_that_runs_too_long_is_killed() {
        let run = shell("exec sleep 100", Duration::from_millis(50));
        assert_eq!(run.end, End::TimedOut);
    }

    #[test]
    fn a_signal_is_told_from_an_exit() {
        assert_eq!(shell("kill -9 $$", Duration::from_secs(20)).end, End::Signal(9));
    }

    #[test]
    fn a_tool_that_fails_shows_what_it_said() {
        let error = run_tool(Command::new("sh").args(["-c", "echo because >&2; exit 1"]), "trying")
            .unwrap_err();
        assert!(error.to_string().contains("because"));
    }
}
