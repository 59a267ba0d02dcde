//! Whether the processor checks return addresses, so that none can be rewritten.

use std::sync::atomic::{AtomicBool, Ordering};

/// Why frames cannot be redirected on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShadowStackActive;

impl std::fmt::Display for ShadowStackActive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "this thread runs with a hardware shadow stack, which forbids rewriting return addresses: \
             compiled frames cannot be replaced while they are suspended",
        )
    }
}

impl std::error::Error for ShadowStackActive {}

/// A thread that has a shadow stack has run managed code, or has been asked.
static SHADOW_STACK_SEEN: AtomicBool = AtomicBool::new(false);

/// Whether the processor checks return addresses of this thread, or of any that has run managed code, against
/// a shadow stack. Each thread has one of its own, or none; frames of all of them may have to be redirected.
pub fn shadow_stack_active() -> bool {
    SHADOW_STACK_SEEN.load(Ordering::Relaxed) || note_shadow_stack()
}

/// Asks for this thread: before it runs managed code for the first time. A thread cannot get a shadow stack
/// later, for it could not return from its frames then.
pub(crate) fn note_shadow_stack() -> bool {
    thread_local! {
        static ACTIVE: bool = thread_has_shadow_stack();
    }
    // What a thread has when its locals are gone is asked again.
    let active = ACTIVE.try_with(|&active| active).unwrap_or_else(|_| thread_has_shadow_stack());
    if active {
        SHADOW_STACK_SEEN.store(true, Ordering::Relaxed);
    }
    active
}

/// `arch_prctl` command and feature of <asm/prctl.h>.
const ARCH_SHSTK_STATUS: libc::c_int = 0x5005;
const ARCH_SHSTK_SHSTK: u64 = 1;

fn thread_has_shadow_stack() -> bool {
    let mut features = 0_u64;
    // SAFETY: a system call that writes 64 bits to where it is told.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SHSTK_STATUS, &mut features) };
    if result == 0 {
        return features & ARCH_SHSTK_SHSTK != 0;
    }
    // A system that does not know the command has no shadow stacks.
    if std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        return false;
    }
    // It was forbidden.
    std::fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| {
        let mut lines = status.lines();
        lines.any(|line| line.starts_with("x86_Thread_features:") && line.contains("shstk"))
    })
}
