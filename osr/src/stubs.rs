//! The six hand-written pieces of machine code, and nothing else.
//!
//! All offsets into Rust structures that the assembly uses are passed as constants that are checked
//! against `offset_of!` in the modules that own them.
//!
//! Every piece that calls Rust describes its frame by call frame information, so that debuggers, profilers
//! and panics' backtraces see through it. It holds at the calls, and at returns into the piece; in the
//! instructions before and behind them it need not.

use crate::call::{CalloutFrame, NativeCall};
use crate::capture::MachineState;
use crate::context::{ContextHeader, StackContext};
use crate::registers::Registers;
use std::arch::global_asm;
use std::mem::{offset_of, size_of};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("midair-osr knows x86-64 Linux only so far");

// midair_osr_enter(call: *mut NativeCall, stack: *mut StackContext) -> 0 returned | 1 unwound
//
//   rbp+8   return address into Rust
//   rbp     saved rbp
//   rbp-40  rbx r12 r13 r14 r15
//   rbp-48  call
//   rbp-56  stack
//   rbp-64  stack.exit_fp of before   <- a walk goes on from here
//   rbp-72  stack.entry_sp of before
//   rbp-80  padding                   <- stack.entry_sp while managed code runs
//   ...     stack arguments
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_enter",
    ".type midair_osr_enter,@function",
    "midair_osr_enter:",
    ".cfi_startproc",
    "push rbp",
    "mov rbp, rsp",
    ".cfi_def_cfa rbp, 16",
    ".cfi_offset rbp, -16",
    ".cfi_offset rbx, -24",
    ".cfi_offset r12, -32",
    ".cfi_offset r13, -40",
    ".cfi_offset r14, -48",
    ".cfi_offset r15, -56",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "push rsi",
    "push qword ptr [rsi + {exit_fp}]",
    "push qword ptr [rsi + {entry_sp}]",
    "sub rsp, 8",
    "mov [rsi + {entry_sp}], rsp",
    "mov rcx, [rdi + {stack_count}]",
    "mov r10, [rdi + {stack_slots}]",
    "lea rax, [rcx + 1]",
    "and rax, -2",
    "shl rax, 3",
    "sub rsp, rax",
    "test rcx, rcx",
    "jz 3f",
    "2:",
    "mov rax, [r10 + rcx * 8 - 8]",
    "mov [rsp + rcx * 8 - 8], rax",
    "dec rcx",
    "jnz 2b",
    "3:",
    "movq xmm0, qword ptr [rdi + {xmm} + 0]",
    "movq xmm1, qword ptr [rdi + {xmm} + 8]",
    "movq xmm2, qword ptr [rdi + {xmm} + 16]",
    "movq xmm3, qword ptr [rdi + {xmm} + 24]",
    "movq xmm4, qword ptr [rdi + {xmm} + 32]",
    "movq xmm5, qword ptr [rdi + {xmm} + 40]",
    "movq xmm6, qword ptr [rdi + {xmm} + 48]",
    "movq xmm7, qword ptr [rdi + {xmm} + 56]",
    "mov rsi, [rdi + {gpr} + 0]",
    "mov rdx, [rdi + {gpr} + 8]",
    "mov rcx, [rdi + {gpr} + 16]",
    "mov r8, [rdi + {gpr} + 24]",
    "mov r9, [rdi + {gpr} + 32]",
    "mov r11, [rdi + {code}]",
    "mov rdi, [rdi + {context}]",
    "call r11",
    ".globl midair_osr_enter_return",
    "midair_osr_enter_return:",
    "mov r11, [rbp - 48]",
    "mov [r11 + {result_gpr}], rax",
    "mov [r11 + {result_gpr} + 8], rdx",
    "movq qword ptr [r11 + {result_xmm}], xmm0",
    "movq qword ptr [r11 + {result_xmm} + 8], xmm1",
    "xor eax, eax",
    "4:",
    "mov rsi, [rbp - 56]",
    "mov rcx, [rbp - 64]",
    "mov [rsi + {exit_fp}], rcx",
    "mov rcx, [rbp - 72]",
    "mov [rsi + {entry_sp}], rcx",
    "lea rsp, [rbp - 40]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // Drops every managed frame above the innermost entry. rdi = stack.
    // The frames still stand while Rust is told. rbx is the trampoline's to restore.
    "midair_osr_unwind:",
    "mov rbx, rdi",
    "and rsp, -16",
    "call {unwinding}",
    "mov rdi, rbx",
    "mov rsp, [rdi + {entry_sp}]",
    "lea rbp, [rsp + 80]",
    "mov eax, 1",
    "jmp 4b",
    ".cfi_endproc",
    ".size midair_osr_enter, . - midair_osr_enter",
    unwinding = sym crate::redirect::unwinding,
    exit_fp = const StackContext::EXIT_FP,
    entry_sp = const StackContext::ENTRY_SP,
    stack_count = const offset_of!(NativeCall, stack_count),
    stack_slots = const offset_of!(NativeCall, stack_slots),
    xmm = const offset_of!(NativeCall, xmm),
    gpr = const offset_of!(NativeCall, gpr),
    code = const offset_of!(NativeCall, code),
    context = const offset_of!(NativeCall, context),
    result_gpr = const offset_of!(NativeCall, result_gpr),
    result_xmm = const offset_of!(NativeCall, result_xmm),
);

// The callout stub: an entry thunk has put its number into eax and jumped here, so that rsp points to
// the caller's return address and all argument registers are as the caller set them.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_callout",
    ".type midair_osr_callout,@function",
    "midair_osr_callout:",
    ".cfi_startproc",
    "push rbp",
    "mov rbp, rsp",
    ".cfi_def_cfa rbp, 16",
    ".cfi_offset rbp, -16",
    "sub rsp, {size}",
    "mov [rsp + 0], rdi",
    "mov [rsp + 8], rsi",
    "mov [rsp + 16], rdx",
    "mov [rsp + 24], rcx",
    "mov [rsp + 32], r8",
    "mov [rsp + 40], r9",
    "movaps [rsp + 48], xmm0",
    "movaps [rsp + 64], xmm1",
    "movaps [rsp + 80], xmm2",
    "movaps [rsp + 96], xmm3",
    "movaps [rsp + 112], xmm4",
    "movaps [rsp + 128], xmm5",
    "movaps [rsp + 144], xmm6",
    "movaps [rsp + 160], xmm7",
    "lea rcx, [rbp + 16]",
    "mov [rsp + {stack_args}], rcx",
    // Whoever reads the caller's frame in place finds its callee-saved registers here.
    "mov [rsp + {saved} + 0], rbx",
    "mov [rsp + {saved} + 8], r12",
    "mov [rsp + {saved} + 16], r13",
    "mov [rsp + {saved} + 24], r14",
    "mov [rsp + {saved} + 32], r15",
    "mov rcx, [rdi + {stack}]",
    "mov [rcx + {exit_fp}], rbp",
    "mov esi, eax",
    "mov rdx, rsp",
    "call [rdi + {on_callout}]",
    "test rax, rax",
    "jz 2f",
    "cmp rax, -1",
    "je 3f",
    "mov r11, rax",
    "mov rdi, [rsp + 0]",
    "mov rsi, [rsp + 8]",
    "mov rdx, [rsp + 16]",
    "mov rcx, [rsp + 24]",
    "mov r8, [rsp + 32]",
    "mov r9, [rsp + 40]",
    "movaps xmm0, [rsp + 48]",
    "movaps xmm1, [rsp + 64]",
    "movaps xmm2, [rsp + 80]",
    "movaps xmm3, [rsp + 96]",
    "movaps xmm4, [rsp + 112]",
    "movaps xmm5, [rsp + 128]",
    "movaps xmm6, [rsp + 144]",
    "movaps xmm7, [rsp + 160]",
    "leave",
    "jmp r11",
    "2:",
    "mov rax, [rsp + {result_gpr}]",
    "mov rdx, [rsp + {result_gpr} + 8]",
    "movaps xmm0, [rsp + {result_xmm}]",
    "movaps xmm1, [rsp + {result_xmm} + 16]",
    "leave",
    "ret",
    "3:",
    "mov rdi, [rsp + 0]",
    "mov rdi, [rdi + {stack}]",
    "jmp midair_osr_unwind",
    ".cfi_endproc",
    ".size midair_osr_callout, . - midair_osr_callout",
    size = const size_of::<CalloutFrame>(),
    stack_args = const offset_of!(CalloutFrame, stack_args),
    saved = const CalloutFrame::SAVED,
    result_gpr = const offset_of!(CalloutFrame, result_gpr),
    result_xmm = const offset_of!(CalloutFrame, result_xmm),
    stack = const ContextHeader::STACK,
    on_callout = const offset_of!(ContextHeader, on_callout),
    exit_fp = const StackContext::EXIT_FP,
);

// The resume entry: an entry thunk with a number of its own, outside every heap.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_resume",
    ".type midair_osr_resume,@function",
    "midair_osr_resume:",
    "mov eax, {token}",
    "jmp [rdi]",
    ".size midair_osr_resume, . - midair_osr_resume",
    token = const crate::call::RESUME_TOKEN as i32,
);

// The poll stub: called under PreserveAll, so every register is given back as it was. rdi = context.
// Callee-saved registers are preserved by the Rust function that it calls; they are saved for whoever
// reads the caller's frame in place. The area is a `Registers` at rbp - size.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_poll",
    ".type midair_osr_poll,@function",
    "midair_osr_poll:",
    ".cfi_startproc",
    "push rbp",
    "mov rbp, rsp",
    ".cfi_def_cfa rbp, 16",
    ".cfi_offset rbp, -16",
    "sub rsp, {size}",
    "mov [rsp + 0], rax",
    "mov [rsp + 8], rcx",
    "mov [rsp + 16], rdx",
    "mov [rsp + 24], rbx",
    "mov [rsp + 48], rsi",
    "mov [rsp + 56], rdi",
    "mov [rsp + 64], r8",
    "mov [rsp + 72], r9",
    "mov [rsp + 80], r10",
    "mov [rsp + 88], r11",
    "mov [rsp + 96], r12",
    "mov [rsp + 104], r13",
    "mov [rsp + 112], r14",
    "mov [rsp + 120], r15",
    "movaps [rsp + 128], xmm0",
    "movaps [rsp + 144], xmm1",
    "movaps [rsp + 160], xmm2",
    "movaps [rsp + 176], xmm3",
    "movaps [rsp + 192], xmm4",
    "movaps [rsp + 208], xmm5",
    "movaps [rsp + 224], xmm6",
    "movaps [rsp + 240], xmm7",
    "movaps [rsp + 256], xmm8",
    "movaps [rsp + 272], xmm9",
    "movaps [rsp + 288], xmm10",
    "movaps [rsp + 304], xmm11",
    "movaps [rsp + 320], xmm12",
    "movaps [rsp + 336], xmm13",
    "movaps [rsp + 352], xmm14",
    "movaps [rsp + 368], xmm15",
    "mov rsi, [rdi + {stack}]",
    "mov [rsi + {exit_fp}], rbp",
    "call [rsi + {on_poll}]",
    "test rax, rax",
    "jnz 2f",
    "movaps xmm0, [rsp + 128]",
    "movaps xmm1, [rsp + 144]",
    "movaps xmm2, [rsp + 160]",
    "movaps xmm3, [rsp + 176]",
    "movaps xmm4, [rsp + 192]",
    "movaps xmm5, [rsp + 208]",
    "movaps xmm6, [rsp + 224]",
    "movaps xmm7, [rsp + 240]",
    "movaps xmm8, [rsp + 256]",
    "movaps xmm9, [rsp + 272]",
    "movaps xmm10, [rsp + 288]",
    "movaps xmm11, [rsp + 304]",
    "movaps xmm12, [rsp + 320]",
    "movaps xmm13, [rsp + 336]",
    "movaps xmm14, [rsp + 352]",
    "movaps xmm15, [rsp + 368]",
    "mov rax, [rsp + 0]",
    "mov rcx, [rsp + 8]",
    "mov rdx, [rsp + 16]",
    "mov rsi, [rsp + 48]",
    "mov rdi, [rsp + 56]",
    "mov r8, [rsp + 64]",
    "mov r9, [rsp + 72]",
    "mov r10, [rsp + 80]",
    "mov r11, [rsp + 88]",
    "leave",
    "ret",
    "2:",
    "mov rdi, [rsp + 56]",
    "mov rdi, [rdi + {stack}]",
    "jmp midair_osr_unwind",
    ".cfi_endproc",
    ".size midair_osr_poll, . - midair_osr_poll",
    size = const size_of::<Registers>(),
    stack = const ContextHeader::STACK,
    exit_fp = const StackContext::EXIT_FP,
    on_poll = const StackContext::ON_POLL,
);

// The landing stub: what a redirected return address points to. A callee (or the poll stub) has just
// returned here instead of into the retired frame:
//
//   rsp     the retired frame's stack pointer at its call
//   rbp     the retired frame's frame pointer
//   rest    the callee's results and the retired frame's callee-saved registers
//           (after a poll: every register as it was)
//
// Below rsp lies only the frame that was returned from, so the state is saved there.
//
// To unwinders, which look at the byte before a return address, the stub's frame is the retired one: its
// frame record stands until the stub drops it. What else its prologue saved they do not learn.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_landing",
    ".type midair_osr_landing,@function",
    ".cfi_startproc",
    ".cfi_def_cfa rbp, 16",
    ".cfi_offset rbp, -16",
    "nop",
    "midair_osr_landing:",
    "lea rsp, [rsp - {size}]",
    "mov [rsp + 0], rax",
    "mov [rsp + 8], rcx",
    "mov [rsp + 16], rdx",
    "mov [rsp + 24], rbx",
    "lea rax, [rsp + {size}]",
    "mov [rsp + 32], rax",
    "mov [rsp + 40], rbp",
    "mov [rsp + 48], rsi",
    "mov [rsp + 56], rdi",
    "mov [rsp + 64], r8",
    "mov [rsp + 72], r9",
    "mov [rsp + 80], r10",
    "mov [rsp + 88], r11",
    "mov [rsp + 96], r12",
    "mov [rsp + 104], r13",
    "mov [rsp + 112], r14",
    "mov [rsp + 120], r15",
    "movups [rsp + 128], xmm0",
    "movups [rsp + 144], xmm1",
    "movups [rsp + 160], xmm2",
    "movups [rsp + 176], xmm3",
    "movups [rsp + 192], xmm4",
    "movups [rsp + 208], xmm5",
    "movups [rsp + 224], xmm6",
    "movups [rsp + 240], xmm7",
    "movups [rsp + 256], xmm8",
    "movups [rsp + 272], xmm9",
    "movups [rsp + 288], xmm10",
    "movups [rsp + 304], xmm11",
    "movups [rsp + 320], xmm12",
    "movups [rsp + 336], xmm13",
    "movups [rsp + 352], xmm14",
    "movups [rsp + 368], xmm15",
    "mov rdi, rsp",
    "call {land}",
    "test rax, rax",
    "jnz 2f",
    // The state now describes the entry of the target: its context in rdi, the callee-saved
    // registers and stack pointer as the retired function's caller left them.
    "mov rbx, [rsp + 24]",
    "mov rbp, [rsp + 40]",
    "mov rdi, [rsp + 56]",
    "mov r12, [rsp + 96]",
    "mov r13, [rsp + 104]",
    "mov r14, [rsp + 112]",
    "mov r15, [rsp + 120]",
    "mov rax, [rsp + {target}]",
    "mov rsp, [rsp + 32]",
    "jmp rax",
    // The frame goes on where it was: the word that held the return address holds the original one.
    "2:",
    "movups xmm0, [rsp + 128]",
    "movups xmm1, [rsp + 144]",
    "movups xmm2, [rsp + 160]",
    "movups xmm3, [rsp + 176]",
    "movups xmm4, [rsp + 192]",
    "movups xmm5, [rsp + 208]",
    "movups xmm6, [rsp + 224]",
    "movups xmm7, [rsp + 240]",
    "movups xmm8, [rsp + 256]",
    "movups xmm9, [rsp + 272]",
    "movups xmm10, [rsp + 288]",
    "movups xmm11, [rsp + 304]",
    "movups xmm12, [rsp + 320]",
    "movups xmm13, [rsp + 336]",
    "movups xmm14, [rsp + 352]",
    "movups xmm15, [rsp + 368]",
    "mov rax, [rsp + 0]",
    "mov rcx, [rsp + 8]",
    "mov rdx, [rsp + 16]",
    "mov rsi, [rsp + 48]",
    "mov rdi, [rsp + 56]",
    "mov r8, [rsp + 64]",
    "mov r9, [rsp + 72]",
    "mov r10, [rsp + 80]",
    "mov r11, [rsp + 88]",
    "lea rsp, [rsp + {size} - 8]",
    "ret",
    ".cfi_endproc",
    ".globl midair_osr_landing_end",
    "midair_osr_landing_end:",
    ".size midair_osr_landing, . - midair_osr_landing",
    size = const size_of::<MachineState>(),
    target = const offset_of!(MachineState, target),
    land = sym crate::capture::land,
);

// Where the signal handler sends a thread whose managed code trapped: rdi = stack, esi = trap code,
// rdx = pc, rcx = fp; rsp is aligned and lies below the trapped frame.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_osr_trap",
    ".type midair_osr_trap,@function",
    "midair_osr_trap:",
    "push rdi",
    "push rdi",
    "call [rdi + {on_trap}]",
    "pop rdi",
    "jmp midair_osr_unwind",
    ".size midair_osr_trap, . - midair_osr_trap",
    on_trap = const StackContext::ON_TRAP,
);

// The machine code only touches the fields that have offset constants.
#[allow(improper_ctypes)]
unsafe extern "sysv64" {
    pub(crate) fn midair_osr_enter(call: *mut NativeCall, stack: *mut StackContext) -> usize;
    fn midair_osr_enter_return();
    fn midair_osr_callout();
    fn midair_osr_resume();
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

/// What `ContextHeader::callout` holds.
pub(crate) fn callout_address() -> *const u8 {
    midair_osr_callout as *const u8
}

/// See `call::resume_entry`.
pub(crate) fn resume_address() -> *const u8 {
    midair_osr_resume as *const u8
}

/// What `ContextHeader::poll` holds.
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
