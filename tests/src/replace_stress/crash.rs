//! Signals that kill: before they do, it is said what was going on.
//!
//! Freed code is filled with `int3`, so that running it raises SIGTRAP. The handler only notes what
//! happened and wakes a thread, which reports and ends the process.

use super::journal::Journal;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

const SIGNALS: [(libc::c_int, &str); 6] = [
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGABRT, "SIGABRT"),
];

/// The status with which the process ends.
const STATUS: i32 = 70;

static PIPE: AtomicI32 = AtomicI32::new(-1);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static PC: AtomicUsize = AtomicUsize::new(0);
static FP: AtomicUsize = AtomicUsize::new(0);
static SP: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static THREAD: AtomicI32 = AtomicI32::new(0);

/// Installs the handlers, before any engine is made: an engine passes on what is not its own. `context`
/// says how the run can be repeated.
pub fn install(journal: Arc<Journal>, context: String, hold: bool) -> std::io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor has just been made, and nothing else owns it.
    let mut read = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(ends[0]) });
    PIPE.store(ends[1], Ordering::SeqCst);
    std::thread::Builder::new().name("crash-report".to_owned()).spawn(move || {
        let mut byte = [0];
        if read.read_exact(&mut byte).is_ok() {
            report(&journal, &context);
            if hold {
                eprintln!("process {} waits for a debugger", std::process::id());
                loop {
                    std::thread::sleep(std::time::Duration::from_secs(3600));
                }
            }
            // SAFETY: ends the process at once, whatever its other threads hold.
            unsafe { libc::_exit(STATUS) };
        }
    })?;
    for (signal, _) in SIGNALS {
        // SAFETY: plain sigaction calls with initialised structures; the handler is safe at any moment.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    Ok(())
}

/// Notes what happened, wakes the reporter, and waits for the end.
///
/// # Safety
/// Only the kernel may call it, as an `SA_SIGINFO` handler.
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    ucontext: *mut libc::c_void,
) {
    let first = SIGNAL.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if first {
        // SAFETY: the kernel hands over a ucontext_t and a siginfo_t; write and gettid are
        // async-signal-safe.
        unsafe {
            let registers = &(*ucontext.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            PC.store(registers[libc::REG_RIP as usize] as usize, Ordering::SeqCst);
            FP.store(registers[libc::REG_RBP as usize] as usize, Ordering::SeqCst);
            SP.store(registers[libc::REG_RSP as usize] as usize, Ordering::SeqCst);
            ADDRESS.store((*info).si_addr() as usize, Ordering::SeqCst);
            THREAD.store(libc::gettid(), Ordering::SeqCst);
            libc::write(PIPE.load(Ordering::SeqCst), [0u8].as_ptr().cast(), 1);
        }
    }
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

fn report(journal: &Journal, context: &str) {
    let signal = SIGNAL.load(Ordering::SeqCst);
    let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("?", |(_, name)| *name);
    let pc = PC.load(Ordering::SeqCst);
    // After an `int3` the program counter is behind it.
    let at = if signal == libc::SIGTRAP { pc.wrapping_sub(1) } else { pc };
    let what = if signal == libc::SIGTRAP { "freed code was run (int3)" } else { "a crash" };
    let mut out = std::io::stdout().lock();
    // Nothing can be done if nobody reads it.
    let _ = writeln!(
        out,
        "FAILED: {name} at {at:#x}: {what}; fault address {:#x}, rbp {:#x}, rsp {:#x}, thread {}\n\
         code at {at:#x}:\n{}last operations:\n{}{context}",
        ADDRESS.load(Ordering::SeqCst),
        FP.load(Ordering::SeqCst),
        SP.load(Ordering::SeqCst),
        THREAD.load(Ordering::SeqCst),
        journal.history_of(at),
        journal.operations(),
    );
    let _ = out.flush();
}
