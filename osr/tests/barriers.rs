//! Barriers that the system makes are really asked for, where correctness hangs on them and nothing goes wrong on
//! most machines without: before freed memory is used again, and when a request has to be seen.
//!
//! The calls are seen by a filter of the system's (seccomp) on the thread of the test, which turns each `membarrier`
//! into a signal.

use midair_osr::handshake::{Handshake, Mutator, Operation, State, Stepwise};
use midair_osr::{CodeDescription, CodeHeap, Position, StackContext, prepare_process};
use midair_watchdog::Watchdog;
use std::cell::Cell;
use std::sync::Arc;

/// Commands of <linux/membarrier.h>.
const PRIVATE_EXPEDITED: u64 = 1 << 3;
const PRIVATE_EXPEDITED_SYNC_CORE: u64 = 1 << 5;

thread_local! {
    /// Barriers that this thread has asked for: of memory, and of instructions.
    static ASKED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Stands for the system: counts a barrier, and says that it has been made.
extern "C" fn count(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the interrupted thread's registers, which nobody else looks at.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let command = registers[libc::REG_RDI as usize] as u64;
    registers[libc::REG_RAX as usize] = 0;
    // Constants need no initialisation, so that a handler can use them.
    ASKED.with(|asked| {
        let (memory, code) = asked.get();
        asked.set(match command {
            PRIVATE_EXPEDITED => (memory + 1, code),
            PRIVATE_EXPEDITED_SYNC_CORE => (memory, code + 1),
            _ => (memory, code),
        });
    });
}

/// Runs `f` on a thread whose barriers are counted. It answers how many there are so far.
fn counting(f: impl FnOnce(&dyn Fn() -> (u32, u32)) + Send + 'static) {
    // What the process says once and for all about barriers.
    prepare_process();
    let run = move || {
        let statement = |code, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let (load, equal, ret) = (
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::BPF_RET | libc::BPF_K,
        );
        let mut program = [
            // The number of the system call is the first word of what the filter is shown.
            statement(load, 0),
            libc::sock_filter { jf: 1, ..statement(equal, libc::SYS_membarrier as u32) },
            statement(ret, libc::SECCOMP_RET_TRAP),
            statement(ret, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        let handler: Handler = count;
        // SAFETY: the action and the program are complete, and the handler has the signature that it is
        // installed with. The filter stays on this thread, which ends with the test.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()), 0);
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
        }
        f(&|| ASKED.get());
    };
    std::thread::spawn(run).join().unwrap();
}

fn code(len: usize) -> CodeDescription {
    CodeDescription { bytes: vec![0xc3; len], ..CodeDescription::default() }
}

#[test]
fn freed_memory_is_used_again_only_behind_a_barrier() {
    let _watchdog = Watchdog::start();
    counting(|asked| {
        let heap = CodeHeap::new(1 << 20).unwrap();
        let object = heap.publish(code(100), Arc::new(())).unwrap();
        let start = object.start();
        let before = asked().1;
        // SAFETY: nothing runs the code.
        unsafe { heap.free_into_quarantine(&object) };
        assert_eq!(asked().1, before, "freeing does not wait for processors");
        let other = heap.publish(code(100), Arc::new(())).unwrap();
        assert_ne!(other.start(), start, "what is in quarantine is not used");
        assert_eq!(asked().1, before);
        heap.collect();
        assert_eq!(asked().1, before + 1, "the quarantine ends with a barrier");
        let again = heap.publish(code(100), Arc::new(())).unwrap();
        assert_eq!(again.start(), start);
        heap.collect();
        assert_eq!(asked().1, before + 1, "nothing is in quarantine");
    });
}

/// Whatever empties the quarantine: it is full, or there is no other room.
#[test]
fn memory_never_returns_from_quarantine_without_a_barrier() {
    let _watchdog = Watchdog::start();
    counting(|asked| {
        let heap = CodeHeap::new(64 << 10).unwrap();
        let room = heap.snapshot().free_bytes as usize;
        let before = asked().1;
        let large = heap.publish(code(room), Arc::new(())).unwrap();
        // SAFETY: nothing runs the code.
        unsafe { heap.free_into_quarantine(&large) };
        assert_eq!(asked().1, before);
        let next = heap.publish(code(room), Arc::new(())).unwrap();
        assert_eq!(asked().1, before + 1, "its room was needed");
        // SAFETY: as above.
        unsafe { heap.free(&next) };
        for _ in 0..300 {
            let before = asked().1;
            let (barriers, quarantined) = (heap.stats().barriers, heap.stats().quarantined_bytes);
            let object = heap.publish(code(64), Arc::new(())).unwrap();
            // SAFETY: as above.
            unsafe { heap.free(&object) };
            let emptied = heap.stats().quarantined_bytes <= quarantined;
            assert_eq!(asked().1 > before, emptied);
            assert_eq!(u64::from(asked().1 - before), heap.stats().barriers - barriers);
        }
        assert!(asked().1 > before + 3, "the quarantine has been full several times");
    });
}

struct Nothing;

impl Operation<StackContext> for Nothing {
    unsafe fn perform(&self, _: *mut StackContext) {}
}

impl Stepwise<StackContext> for Nothing {
    unsafe fn step(
        &self,
        _: &mut midair_osr::RedirectTable,
        _: Position,
        _: usize,
    ) -> Option<Position> {
        None
    }
}

/// A mutator that is out may be on its way in, without having seen the request and without having been seen.
#[test]
fn a_request_to_mutators_outside_managed_code_executes_a_barrier() {
    let _watchdog = Watchdog::start();
    counting(|asked| {
        let mutator = Arc::new(Mutator::<StackContext>::new());
        let before = asked().0;
        Handshake::begin(vec![mutator.clone()], Arc::new(Nothing)).wait();
        assert_eq!(asked().0, before + 1);
        Handshake::begin_around(vec![mutator.clone()], Arc::new(Nothing), || ()).wait();
        assert_eq!(asked().0, before + 2);
        // SAFETY: there is no stack.
        unsafe {
            mutator.enter();
            mutator.leave(State::Host);
            mutator.enter();
            mutator.leave(State::Outside);
        }
        assert_eq!(asked().0, before + 2, "on the way in and out nobody pays");
    });
}
