//! Activations of the interpreter, and the frames in them.

use super::{LANDING, TailCall};
use crate::body::FunctionBody;
use crate::context::{InstanceContext, StoreContext};
use crate::lowered::code::{LoweredCode, Site, SuspendedAt};
use crate::lowered::frame::{self, CALLER_FP, RETURN_IP};
use crate::module_env::ModuleEnv;
use std::ptr;

/// One run of the interpreter: all frames between a call into it and the next one outwards.
///
/// `StoreContext::activation` points to the innermost one.
#[repr(C)]
pub struct Activation {
    prev: *mut Activation,
    context: *mut InstanceContext,
    /// How many calls into machine code were under way when it began: this is its place among machine frames.
    entries: usize,
    /// Where control last left the handlers: the top frame's pointer and instruction.
    fp: *mut u64,
    ip: *const u8,
    position: Position,
    /// What is called in the base frame's place.
    tail_call: Option<TailCall>,
    /// `InstanceContext::epoch` as of which the frames inside the landing, or all if there is none, have
    /// been looked at: see `interp/catch_up.rs`.
    pub(super) epoch: u64,
    landing: Option<Landing>,
    /// Registers between two instructions, where dispatch is a loop.
    #[cfg(any(debug_assertions, feature = "loop-dispatch"))]
    pub(super) parked: Option<super::machine::Machine>,
}

/// A return address inside an activation that leads to the instruction [`LANDING`] instead. The frames
/// from the one that it returns to on outwards wait to be looked at.
struct Landing {
    /// The header slot of the frame that returns.
    slot: *mut u64,
    /// What stood there.
    ip: *const u8,
}

/// What an activation's saved instruction means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// The function's entry; the instruction is its first and has not been executed.
    Entry,
    /// The instruction is a loop header that has not been executed.
    Loop,
    /// The instruction stands behind a call that has not returned.
    Call,
    /// The instruction is being executed: it trapped, or made a runtime call.
    Trap,
}

impl Activation {
    /// Makes a new activation the innermost one, runs `body` in it, and removes it. The code of its base
    /// frame is chosen as of `epoch` or later.
    ///
    /// # Safety
    /// `context` must be a live instance context of the store that runs on this thread.
    pub(super) unsafe fn run<R>(
        context: *mut InstanceContext,
        epoch: u64,
        body: impl FnOnce(*mut Activation) -> R,
    ) -> R {
        // SAFETY: the caller's contract.
        let store = unsafe { (*context).store() };
        let mut activation = Activation {
            // SAFETY: as above.
            prev: unsafe { (*store).activation.cast() },
            context,
            // SAFETY: as above.
            entries: unsafe { (*store).stack.entries },
            fp: ptr::null_mut(),
            ip: ptr::null(),
            position: Position::Trap,
            tail_call: None,
            epoch,
            landing: None,
            #[cfg(any(debug_assertions, feature = "loop-dispatch"))]
            parked: None,
        };
        let this = &raw mut activation;
        // SAFETY: as above; the activation outlives its being linked.
        unsafe {
            (*store).activation = this.cast();
            let result = body(this);
            (*store).activation = (*this).prev.cast();
            result
        }
    }

    pub(super) fn save(&mut self, fp: *mut u64, ip: *const u8, position: Position) {
        self.fp = fp;
        self.ip = ip;
        self.position = position;
    }

    /// The top frame's pointer and instruction, as saved last.
    #[inline(always)]
    pub(super) fn saved(&self) -> (*mut u64, *const u8) {
        (self.fp, self.ip)
    }

    /// The base frame is gone; this is called in its place.
    pub(super) fn give_up_base_for(&mut self, call: TailCall) {
        self.fp = ptr::null_mut();
        self.tail_call = Some(call);
    }

    /// What is called in the place of the base frame, which has given itself up for it.
    pub(super) fn tail_called(&self) -> TailCall {
        self.tail_call.expect("the base frame is gone for it")
    }

    /// Takes the landing out, if there is one. `ip` is the instruction at which the top frame goes on;
    /// answers which one it really is.
    ///
    /// # Safety
    /// The activation must be the innermost one, with all its frames outside the landing alive.
    pub(super) unsafe fn lift_landing(&mut self, ip: *const u8) -> *const u8 {
        match self.landing.take() {
            // The frame with the slot is gone.
            Some(landing) if is_landing(ip) => landing.ip,
            Some(landing) => {
                // SAFETY: the frame that returns there has not returned: it would have taken the
                // landing out.
                unsafe { landing.slot.write(landing.ip as u64) };
                ip
            }
            None => ip,
        }
    }

    /// Whether there is one: the frames outside it have not been looked at.
    pub(super) fn has_landing(&self) -> bool {
        self.landing.is_some()
    }

    /// Lets the return of the top frame lead to the landing, unless it leaves the activation.
    ///
    /// # Safety
    /// `fp` must be the top frame of the activation, which must not have a landing.
    pub(super) unsafe fn set_landing(&mut self, fp: *mut u64) {
        debug_assert!(self.landing.is_none(), "an activation has one landing at most");
        // SAFETY: the header of a live frame.
        unsafe {
            if fp.add(CALLER_FP).read() != 0 {
                let slot = fp.add(RETURN_IP);
                self.landing = Some(Landing { slot, ip: slot.read() as *const u8 });
                slot.write(&raw const LANDING as u64);
            }
        }
    }

    /// The instruction that a return address leads to in the end.
    fn beyond_landing(&self, ip: *const u8) -> *const u8 {
        match &self.landing {
            Some(landing) if is_landing(ip) => landing.ip,
            _ => ip,
        }
    }

    /// The innermost activation of a store.
    ///
    /// # Safety
    /// The store must not run on another thread meanwhile, and must not go on running before the
    /// reference is gone.
    pub unsafe fn innermost<'a>(store: *const StoreContext) -> Option<&'a Activation> {
        // SAFETY: the caller's contract.
        unsafe { (*store).activation.cast::<Activation>().as_ref() }
    }

    /// The next activation outwards.
    pub fn outer(&self) -> Option<&Activation> {
        // SAFETY: activations outlive those that are nested in them.
        unsafe { self.prev.as_ref() }
    }

    /// How many calls into machine code were under way when this run of the interpreter began. Machine frames of
    /// later ones were called from it.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The instance whose code runs.
    pub fn context(&self) -> *mut InstanceContext {
        self.context
    }

    /// The frames, innermost first. They are as control last left the handlers, so this makes sense
    /// while control is outside: in a runtime call or in something that was called from here.
    pub fn frames(&self) -> Frames<'_> {
        let ip = self.beyond_landing(self.ip);
        Frames { activation: self, fp: self.fp, ip, position: self.position }
    }
}

fn is_landing(ip: *const u8) -> bool {
    ptr::eq(ip, (&raw const LANDING).cast())
}

/// Iterator over the frames of an activation, innermost first.
pub struct Frames<'a> {
    activation: &'a Activation,
    fp: *mut u64,
    ip: *const u8,
    position: Position,
}

impl<'a> Iterator for Frames<'a> {
    type Item = InterpFrame<'a>;

    fn next(&mut self) -> Option<InterpFrame<'a>> {
        if self.fp.is_null() {
            return None;
        }
        let fp = self.fp;
        // SAFETY: a saved frame pointer, or one out of a frame's header: that of a live frame.
        let code = unsafe { frame::code(fp) };
        let item = InterpFrame {
            activation: self.activation,
            code,
            fp,
            ip: self.ip,
            position: self.position,
        };
        // SAFETY: as above.
        unsafe {
            self.ip = self.activation.beyond_landing(fp.add(RETURN_IP).read() as *const u8);
            self.fp = fp.add(CALLER_FP).read() as *mut u64;
        }
        self.position = Position::Call;
        Some(item)
    }
}

/// A frame of the interpreter.
#[derive(Clone, Copy)]
pub struct InterpFrame<'a> {
    activation: &'a Activation,
    code: *const LoweredCode,
    fp: *mut u64,
    ip: *const u8,
    position: Position,
}

impl<'a> InterpFrame<'a> {
    /// The code that the frame runs, as `crate::lower::lower` made it.
    pub fn code(&self) -> *const LoweredCode {
        self.lowered().usual()
    }

    /// The instance whose code runs.
    pub fn context(&self) -> *mut InstanceContext {
        self.activation.context
    }

    /// The activation that it is one of.
    pub fn activation(&self) -> &'a Activation {
        self.activation
    }

    /// The frame's first slot.
    pub fn first_slot(&self) -> *mut u64 {
        // SAFETY: the code is alive while frames run it; locals lie below the header.
        unsafe { self.fp.sub((*self.code).locals as usize) }
    }

    /// What the frame is suspended at.
    pub fn position(&self) -> Position {
        self.position
    }

    fn lowered(&self) -> &'a LoweredCode {
        // SAFETY: lowered code is kept while frames run it.
        unsafe { &*self.code }
    }

    fn env(&self) -> &'a ModuleEnv {
        // SAFETY: a module's environment lives as long as its instances.
        unsafe { &*(*self.activation.context).env }
    }

    /// Offset in the body of the operator that is being executed.
    pub fn point(&self) -> u32 {
        let code = self.lowered();
        let offset = code.offset_of(self.ip);
        match self.position {
            Position::Entry => FunctionBody::ENTRY,
            Position::Loop | Position::Trap => code.sites(self.env()).point_at(offset),
            // Behind the call: any byte of it will do.
            Position::Call => code.sites(self.env()).point_at(offset - 1),
        }
    }

    /// The frame in canonical form: locals, then the operand stack. For a frame that is suspended at
    /// a call this is without the call's arguments and results. `None` if the frame is not at a
    /// safepoint.
    pub fn capture(&self) -> Option<Vec<u64>> {
        self.capture_with(|_| 0)
    }

    /// The same for a top frame whose call has just returned: with the call's results.
    pub(super) fn capture_returned(&self) -> Option<Vec<u64>> {
        self.capture_with(|site| site.results)
    }

    fn capture_with(&self, results: impl FnOnce(&Site) -> u32) -> Option<Vec<u64>> {
        let code = self.lowered();
        let locals = code.locals as usize;
        let local = |i: usize| {
            // SAFETY: a local of this frame.
            unsafe { self.first_slot().add(i).read() }
        };
        let mut values: Vec<u64> = (0..locals).map(local).collect();
        if self.position == Position::Entry {
            return Some(values);
        }
        if self.position == Position::Trap {
            return None;
        }
        let sites = code.sites(self.env());
        let site = sites.site(self.point())?;
        let operands = site.height + results(site);
        let temps = self.fp.wrapping_add(code.first_temp as usize);
        values.extend((0..operands as usize).map(|i| {
            // SAFETY: a temporary of this frame.
            unsafe { temps.add(i).read() }
        }));
        for &(index, at) in sites.exceptions(site) {
            values[locals + index as usize] = match at {
                SuspendedAt::Local(i) => values[i as usize],
                SuspendedAt::Const(bits) => bits,
            };
        }
        Some(values)
    }
}
