//! A watchdog for tests that wait for other threads: what does not end in time ends the process, with a dump of
//! what every thread is doing.
//!
//! Without one a test that fails while its guest spins hangs for ever: the panic waits for the guest's thread
//! to be joined. So the dump also tells of the panics that there were; the harness, which holds them back until a
//! test has ended, would never print them.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

/// How long a test may take that says nothing else. Far more than any does on a machine that is busy with
/// other things too.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a thread has to say where it is.
const ANSWER: Duration = Duration::from_secs(3);

/// Ends the process when its time is over, unless it has been dropped before.
#[derive(Debug)]
pub struct Watchdog {
    _over: mpsc::Sender<()>,
}

impl Watchdog {
    /// A watchdog with the usual patience.
    pub fn start() -> Watchdog {
        Watchdog::within(PATIENCE)
    }

    /// A watchdog that ends the process after `time`.
    pub fn within(time: Duration) -> Watchdog {
        Watchdog::telling(time, String::new)
    }

    /// The same, with something to say in the dump. `state` is called on a thread of its own and may take locks: a
    /// dump does not wait for it for long.
    pub fn telling(time: Duration, state: impl FnOnce() -> String + Send + 'static) -> Watchdog {
        remember_panics();
        let test = std::thread::current().name().unwrap_or("a thread without a name").to_owned();
        let (over, is_over) = mpsc::channel();
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                if is_over.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                    bark(&test, time, state);
                }
            })
            .expect("a test can start a thread");
        Watchdog { _over: over }
    }
}

/// Prints the dump and ends the process.
fn bark(test: &str, time: Duration, state: impl FnOnce() -> String + Send + 'static) -> ! {
    print(&format!("\n=== watchdog: {test} has not ended after {time:?} ===\n"));
    let panics = PANICS.try_lock().map(|panics| panics.join("\n")).unwrap_or_default();
    if !panics.is_empty() {
        print(&format!("panics so far:\n{panics}\n"));
    }
    // A thread that holds a lock may be just what hangs.
    let (said, answer) = mpsc::channel();
    std::thread::spawn(move || said.send(state()));
    match answer.recv_timeout(ANSWER) {
        Ok(state) if state.is_empty() => {}
        Ok(state) => print(&format!("state:\n{state}\n")),
        Err(_) => print("state: not to be had, somebody holds a lock\n"),
    }
    for thread in threads() {
        print(&thread.description());
        thread.print_backtrace();
    }
    std::process::abort();
}

/// What the process has panicked about.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            if let Ok(mut panics) = PANICS.lock() {
                // Tests that make a compiler panic on purpose do so a thousand times.
                if panics.len() < 20 {
                    panics.push(format!("  {name}: {info}"));
                }
            }
            before(info);
        }));
    });
}

/// Past the harness, which would keep it and then be killed.
fn print(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: the bytes are readable.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        let Ok(written @ 1..) = usize::try_from(written) else { return };
        rest = &rest[written..];
    }
}

/// A thread of this process, by its number.
struct Thread(libc::pid_t);

fn threads() -> Vec<Thread> {
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::gettid() };
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let numbers = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    numbers.filter(|&number| number != own).map(Thread).collect()
}

/// Set by a thread that has printed where it is.
static ANSWERED: AtomicBool = AtomicBool::new(false);

extern "C" fn print_where_it_is(_signal: libc::c_int) {
    // Not fit for a signal handler in general, since it allocates. The process is about to end, and who
    // hangs here is not waited for.
    print(&format!("{}\n", Backtrace::force_capture()));
    ANSWERED.store(true, Ordering::Release);
}

impl Thread {
    /// Name, state, and what it waits for in the system.
    fn description(&self) -> String {
        let file = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/self/task/{}/{name}", self.0));
            text.unwrap_or_default().trim().to_owned()
        };
        let status = file("status");
        let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or("State: ?");
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "--- thread {} `{}`, {state}, in {}, system call {}",
            self.0,
            file("comm"),
            file("wchan"),
            file("syscall"),
        );
        text
    }

    /// Lets the thread print its backtrace, if it can.
    fn print_backtrace(&self) {
        ANSWERED.store(false, Ordering::Release);
        let handler: extern "C" fn(libc::c_int) = print_where_it_is;
        // SAFETY: the action is complete, and its handler has the signature that it is installed with; the
        // signal is not used for anything else; a thread that is gone makes the call fail.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
            libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, libc::SIGUSR2);
        }
        let until = Instant::now() + ANSWER;
        while !ANSWERED.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
