//! Where the stubs are, for those who only compare their addresses or hand them on. What they do is said where they
//! are written.

unsafe extern "sysv64" {
    fn midair_osr_enter_return();
    fn midair_osr_callout();
    fn midair_osr_resume();
    fn midair_osr_request();
    fn midair_osr_more_arguments();
    fn midair_osr_more_arguments_return();
    fn midair_osr_poll();
    fn midair_osr_landing();
    #[cfg(feature = "verify-walks")]
    fn midair_osr_landing_end();
    fn midair_osr_trap();
}

/// Where managed code returns to the entry trampoline: ends a segment of managed frames.
pub(crate) fn enter_return_address() -> usize {
    midair_osr_enter_return as *const () as usize
}

/// The `exit_fp` of a stack before its innermost entry, whose trampoline has this stack pointer.
///
/// # Safety
/// `entry_sp` must be that of a stack that has been entered.
pub(crate) unsafe fn exit_fp_before_entry(entry_sp: usize) -> usize {
    // SAFETY: the trampoline's frame pointer lies 80 bytes above, and the word 64 bytes below that.
    unsafe { *((entry_sp + 80 - 64) as *const usize) }
}

/// What the field `callout` of a context header holds.
pub(crate) fn callout_address() -> *const u8 {
    midair_osr_callout as *const u8
}

/// See `call::resume_entry`.
pub(crate) fn resume_address() -> *const u8 {
    midair_osr_resume as *const u8
}

/// See `call::request_entry`.
pub(crate) const fn request_entry() -> unsafe extern "sysv64" fn() {
    midair_osr_request
}

/// See `call::more_arguments_entry`.
pub(crate) const fn more_arguments_entry() -> unsafe extern "sysv64" fn() {
    midair_osr_more_arguments
}

/// Where that callee returns: to a frame between it and the next managed one.
pub(crate) const fn more_arguments_return() -> unsafe extern "sysv64" fn() {
    midair_osr_more_arguments_return
}

/// What its field `poll` holds.
pub(crate) fn poll_address() -> *const u8 {
    midair_osr_poll as *const u8
}

/// What a redirected return address is replaced by.
pub(crate) fn landing_address() -> usize {
    midair_osr_landing as *const () as usize
}

/// The landing stub's code, from the byte before its entry: where unwinders look for what returns to it.
#[cfg(feature = "verify-walks")]
pub(crate) fn landing_code() -> std::ops::Range<usize> {
    landing_address() - 1..midair_osr_landing_end as *const () as usize
}

/// Where the signal handler sends a thread that trapped.
pub(crate) fn trap_address() -> usize {
    midair_osr_trap as *const () as usize
}
