//! Where guests spend their time: a sampling profiler of tiers.
//!
//! The process's profiling timer raises `SIGPROF` on a thread that is using a processor. The handler looks
//! at what that thread was doing: running a guest of an engine that samples, or a host function that such
//! a guest has called, or anything else; and for a guest, whether the interrupted instruction lies in a
//! code object, and of which tier.
//!
//! The system raises the signal at its own ticks, which may be rarer than what is asked for. So a sample
//! does not stand for a fixed time, but for the processor time that its thread has used since the last
//! signal on it.
//!
//! The handler takes no lock, allocates nothing, and makes one system call, to read the thread's clock.
//!
//! What a thread was doing, it says itself whenever it begins something else. So its wall time is known without samples,
//! but for what the tiers share: see `accounts`.

use super::accounts::{Activity, OwnAccount, SampleKind, ThreadAccount};
use super::system::CodeSystem;
use super::version::CodeOwner;
use crate::config::Tier;
use anyhow::Result;
use midair_osr::Process;
use std::cell::RefCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence};
use std::time::Duration;

/// Processor time between two signals, as asked for.
const INTERVAL: Duration = Duration::from_millis(1);

/// Whether an engine has the timer.
static TAKEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What this thread is doing: the address of the [`CodeSystem`] of the guest that it runs, plus the number of its
    /// [`Activity`]; 0 if no guest of an engine that samples is on its stack.
    // Atomic because of the signal handler; other threads never see it.
    static PLACE: AtomicUsize = const { AtomicUsize::new(0) };
    /// Processor time of this thread at the last signal, in nanoseconds; 0 if there was none.
    static LAST: AtomicU64 = const { AtomicU64::new(0) };
    /// The account of this thread, which [`OWN`] keeps; null if it has none.
    static ACCOUNT: AtomicPtr<ThreadAccount> = const { AtomicPtr::new(ptr::null_mut()) };
    static OWN: RefCell<Option<OwnAccount>> = const { RefCell::new(None) };
}

/// The bits of a place that are an activity.
const ACTIVITY: usize = align_of::<CodeSystem>() - 1;

const _: () = assert!(ACTIVITY >= Activity::IN_GUESTS.len());

/// Samples of one kind.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) count: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
}

impl Samples {
    fn add(&self, nanoseconds: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// All samples of an engine.
#[derive(Debug, Default)]
pub(crate) struct TierSamples {
    pub(crate) interpreter: Samples,
    pub(crate) baseline: Samples,
    pub(crate) optimized: Samples,
    pub(crate) host: Samples,
}

/// The process's profiling timer, running. Dropped, it stops, and the signal's handler is what it was.
pub(crate) struct Timer {
    process: Process,
    previous_handler: libc::sigaction,
    previous_timer: libc::itimerval,
}

impl Timer {
    /// Starts the timer. Fails if it is running for another engine.
    pub(crate) fn start() -> Result<Timer> {
        anyhow::ensure!(
            !TAKEN.swap(true, Ordering::Acquire),
            "another engine of this process is sampling already: see `Config::sample_tiers`"
        );
        // SAFETY: plain system calls with initialised structures. The handler only does what a signal
        // handler may do.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            // Interrupted system calls of host functions go on by themselves. The guest's stack may
            // be almost used up.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            let mut timer = Timer {
                process: Process::current(),
                previous_handler: std::mem::zeroed(),
                previous_timer: std::mem::zeroed(),
            };
            let installed = libc::sigaction(libc::SIGPROF, &action, &mut timer.previous_handler);
            assert_eq!(installed, 0, "sigaction failed");
            let interval = libc::timeval { tv_sec: 0, tv_usec: INTERVAL.as_micros() as i64 };
            let times = libc::itimerval { it_interval: interval, it_value: interval };
            set_timer(&times, &mut timer.previous_timer);
            Ok(timer)
        }
    }
}

/// Sets the profiling timer.
///
/// # Safety
/// `previous` must be null or valid for a write.
unsafe fn set_timer(times: &libc::itimerval, previous: *mut libc::itimerval) {
    // SAFETY: the caller's contract.
    let set = unsafe { libc::setitimer(libc::ITIMER_PROF, times, previous) };
    // The only errors are those of wrong arguments.
    assert_eq!(set, 0, "setitimer failed");
}

impl Drop for Timer {
    fn drop(&mut self) {
        // A child that was forked has no timer.
        let has_timer = self.process.is_current();
        // SAFETY: plain system calls with structures that the system has filled.
        unsafe {
            set_timer(&std::mem::zeroed(), ptr::null_mut());
            // A last signal may be on its way, and the default action would end the process. Ignoring
            // the signal discards it.
            let mut ignore: libc::sigaction = std::mem::zeroed();
            ignore.sa_sigaction = libc::SIG_IGN;
            libc::sigaction(libc::SIGPROF, &ignore, ptr::null_mut());
            libc::sigaction(libc::SIGPROF, &self.previous_handler, ptr::null_mut());
            if has_timer {
                set_timer(&self.previous_timer, ptr::null_mut());
            }
        }
        TAKEN.store(false, Ordering::Release);
    }
}

/// Processor time of this thread in nanoseconds.
fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is valid. The call is one that signal handlers may make.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Takes a sample.
///
/// # Safety
/// Only the system calls it, as a handler with `SA_SIGINFO`.
unsafe extern "C" fn on_signal(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let now = thread_time();
    let last = LAST.with(|last| last.swap(now, Ordering::Relaxed));
    let place = PLACE.with(|place| place.load(Ordering::Relaxed));
    if place == 0 || last == 0 {
        return;
    }
    // SAFETY: a place is set only while its code system is alive, and only by this thread.
    let system = unsafe { &*ptr::with_exposed_provenance::<CodeSystem>(place & !ACTIVITY) };
    let kind = match Activity::IN_GUESTS[place & ACTIVITY] {
        Activity::Host | Activity::Waiting => SampleKind::Host,
        Activity::Lowering | Activity::Baseline | Activity::Optimizing => SampleKind::Compiling,
        Activity::Guest | Activity::Outside => {
            // SAFETY: the system hands over a ucontext_t.
            let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
            let pc = registers[libc::REG_RIP as usize] as usize;
            // SAFETY: this thread is running at `pc`.
            match unsafe { system.heap.with_object(pc, |object| CodeOwner::of(object).tier()) } {
                None => SampleKind::Interpreter,
                Some(Tier::Baseline) => SampleKind::Baseline,
                Some(_) => SampleKind::Optimized,
            }
        }
    };
    let time = now.saturating_sub(last);
    let counters = &system.counters;
    match kind {
        SampleKind::Interpreter => counters.samples.interpreter.add(time),
        SampleKind::Baseline => counters.samples.baseline.add(time),
        SampleKind::Optimized => counters.samples.optimized.add(time),
        SampleKind::Host => counters.samples.host.add(time),
        // The compilers' own clocks are better.
        SampleKind::Compiling => {}
    }
    let account = ACCOUNT.with(|account| account.load(Ordering::Relaxed));
    // SAFETY: a thread with a place has an account, which stays until it opens one with another engine or ends.
    if let Some(account) = unsafe { account.as_ref() } {
        account.sample(kind, time);
        if let Some(recorder) = counters.recorder.get() {
            recorder.sample(account.thread(), kind, time);
        }
    }
}

/// Time that has passed since some moment, in nanoseconds. Signal handlers may ask for it.
pub(crate) fn monotonic_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is valid. The call is one that signal handlers may make.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sets what this thread is doing; undone when it is dropped.
pub(crate) struct Place {
    before: usize,
}

impl Place {
    /// The thread runs a guest.
    ///
    /// # Safety
    /// The code system must be alive until the place is dropped.
    pub(crate) unsafe fn guest(system: &CodeSystem) -> Place {
        LAST.with(|last| {
            if last.load(Ordering::Relaxed) == 0 {
                last.store(thread_time(), Ordering::Relaxed);
            }
        });
        open_account(system);
        Place { before: set(ptr::from_ref(system).expose_provenance() | Activity::Guest as usize) }
    }

    /// The guest that this thread runs waits while the thread does something else.
    pub(crate) fn of_guest(activity: Activity) -> Place {
        let before = PLACE.with(|place| place.load(Ordering::Relaxed));
        let system = before & !ACTIVITY;
        Place { before: set(if system == 0 { 0 } else { system | activity as usize }) }
    }
}

/// This thread has taken so long for something that belongs to an activity of its own, if it was lowering.
pub(crate) fn attribute_lowering(to: Activity, time: Duration) {
    if PLACE.with(|place| place.load(Ordering::Relaxed)) == 0 {
        return;
    }
    let account = ACCOUNT.with(|account| account.load(Ordering::Relaxed));
    // SAFETY: as in the handler.
    if let Some(account) = unsafe { account.as_ref() }
        && account.is_doing(Activity::Lowering)
    {
        account.attribute(to, time);
    }
}

/// Gives this thread an account with an engine, unless it has it. Another engine's is closed: only one engine at a time
/// samples.
fn open_account(system: &CodeSystem) {
    let accounts = &system.counters.accounts;
    let account = ACCOUNT.with(|account| account.load(Ordering::Relaxed));
    // SAFETY: as in the handler.
    if unsafe { account.as_ref() }.is_some_and(|account| account.is_of(accounts)) {
        return;
    }
    // The thread may be ending, and have dropped its account.
    let _ = OWN.try_with(|own| {
        let opened = accounts.open();
        let address = std::sync::Arc::as_ptr(&opened.0).cast_mut();
        ACCOUNT.with(|account| account.store(address, Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
        own.replace(Some(opened));
    });
}

/// Sets the place of this thread; returns what it was.
fn set(to: usize) -> usize {
    // The handler runs on this thread: order in the machine code is all that it takes.
    compiler_fence(Ordering::SeqCst);
    let before = PLACE.with(|place| {
        let before = place.load(Ordering::Relaxed);
        place.store(to, Ordering::Relaxed);
        before
    });
    compiler_fence(Ordering::SeqCst);
    let account = ACCOUNT.with(|account| account.load(Ordering::Relaxed));
    // SAFETY: as in the handler.
    if let Some(account) = unsafe { account.as_ref() } {
        account.switch(if to == 0 {
            Activity::Outside
        } else {
            Activity::IN_GUESTS[to & ACTIVITY]
        });
    }
    before
}

impl Drop for Place {
    fn drop(&mut self) {
        set(self.before);
    }
}

#[cfg(test)]
mod tests;
