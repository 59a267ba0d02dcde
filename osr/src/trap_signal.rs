//! Traps of managed code: a fault or an undefined instruction at a trap site becomes an orderly trap.
//!
//! The handler only looks the site up (without a lock) and redirects the thread to the trap stub, which
//! calls `StackContext::on_trap` as ordinary code and unwinds to the innermost entry. Every other signal
//! goes to the handler that was there before: so does one that was sent, by `kill` for one, while the thread
//! happened to be at a trap site.

use crate::{context, registry, stubs};
use std::sync::OnceLock;

const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

static PREVIOUS: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

/// Installs the handlers, once for the process.
pub(crate) fn install() {
    PREVIOUS.get_or_init(|| {
        SIGNALS.map(|signal| {
            // SAFETY: plain sigaction calls with initialised structures. Handlers run on the alternate
            // stack if the thread has one.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                libc::sigemptyset(&mut action.sa_mask);
                // The alternate stack is small: a profiler's signal has to wait.
                libc::sigaddset(&mut action.sa_mask, libc::SIGPROF);
                let mut previous: libc::sigaction = std::mem::zeroed();
                let result = libc::sigaction(signal, &action, &mut previous);
                assert_eq!(result, 0, "sigaction failed");
                previous
            }
        })
    });
}

/// The handler of the signals that traps raise.
///
/// # Safety
/// Only the kernel may call it, as the `SA_SIGINFO` handler that [`install`] registers: `ucontext` is
/// then the `ucontext_t` of the interrupted thread, which nothing else uses until the handler returns.
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    ucontext: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over a ucontext_t.
    let registers = unsafe { &mut (*ucontext.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let pc = registers[libc::REG_RIP as usize] as usize;
    let stack = context::current();
    // SAFETY: the kernel hands over a siginfo_t.
    let raised_here = unsafe { is_fault(info) };
    // SAFETY: code that is running is alive.
    let site = registry::lookup(pc)
        .filter(|_| raised_here)
        .and_then(|object| unsafe { (*object).trap_code(pc) });
    if let Some(code) = site
        && !stack.is_null()
    {
        let fp = registers[libc::REG_RBP as usize] as usize;
        let sp = registers[libc::REG_RSP as usize] as usize;
        registers[libc::REG_RDI as usize] = stack as i64;
        registers[libc::REG_RSI as usize] = i64::from(code);
        registers[libc::REG_RDX as usize] = pc as i64;
        registers[libc::REG_RCX as usize] = fp as i64;
        registers[libc::REG_RSP as usize] = ((sp & !15) - 128) as i64;
        registers[libc::REG_RIP as usize] = stubs::trap_address() as i64;
        return;
    }
    forward(signal, info, ucontext);
}

/// Whether the instruction that was executing raised the signal. (If not, somebody sent it.)
///
/// # Safety
/// `info` must be what the kernel has handed to a signal handler.
unsafe fn is_fault(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller's contract. The kernel's own codes are positive; those of `kill`, `tgkill` and
    // `sigqueue` are not.
    unsafe { (*info).si_code > 0 }
}

/// Hands a signal that is not ours to the previous handler.
fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, ucontext: *mut libc::c_void) {
    let previous =
        PREVIOUS.get().and_then(|all| SIGNALS.iter().position(|s| *s == signal).map(|i| &all[i]));
    // SAFETY: the previous handler is called as the kernel would have called it. Without one, the default
    // action is restored so that the instruction faults again; a signal that was sent is sent again.
    unsafe {
        match previous {
            Some(action) if action.sa_sigaction == libc::SIG_IGN && !is_fault(info) => {}
            Some(action) if action.sa_sigaction > libc::SIG_IGN => {
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(action.sa_sigaction);
                    handler(signal, info, ucontext);
                } else {
                    let handler: extern "C" fn(i32) = std::mem::transmute(action.sa_sigaction);
                    handler(signal);
                }
            }
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                if !is_fault(info) {
                    libc::raise(signal);
                }
            }
        }
    }
}
