//! Lowered code, and the table that relates it to its bytecode.

use crate::body::FunctionBody;
use crate::lowered::continuations::Continuations;
use crate::module_env::ModuleEnv;
use midair_osr::SiteKind;
use smallvec::SmallVec;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// One body as register code. See the module documentation of [`crate::interp`] for its form.
#[repr(C)]
pub struct LoweredCode {
    /// Where calls begin: the first instruction, or with baseline code a word that stands for it. (First, with what
    /// else a call reads, in one cache line.)
    entry: AtomicPtr<u8>,
    /// The first instruction.
    first: *const u8,
    /// Bytes of a whole frame; more than any stack has if the frame is too large.
    pub(crate) frame_bytes: usize,
    /// Slots of the locals, parameters included.
    pub(crate) locals: u32,
    /// Slots of the parameters.
    pub(crate) params: u32,
    /// Slots of header and operand stack.
    pub(crate) slots_above: u32,
    /// Slot number of the first temporary.
    pub(crate) first_temp: u32,
    has_vectors: bool,
    /// Whether the body has handlers.
    pub(crate) has_handlers: bool,
    has_tail_calls: bool,
    code: Box<[u8]>,
    /// Made with the first baseline code, and kept: frames refer to them.
    continuations: OnceLock<Box<Continuations>>,
    body: FunctionBody,
    /// Only few functions ever need it, so it is made on demand by lowering the body again.
    sites: OnceLock<Box<Sites>>,
    /// Code that keeps operands nowhere but in their places: see [`LoweredCode::settled`].
    settled: OnceLock<Box<LoweredCode>>,
    /// See [`LoweredCode::with_exits`].
    with_exits: OnceLock<Box<LoweredCode>>,
    /// The exits of code that has some.
    exits: Box<[u32]>,
    /// The code that this is another form of, or null.
    form_of: *const LoweredCode,
    lowering: &'static Lowering,
}

/// Who lowers a body that was lowered before, which always succeeds. Lowering stands above its output.
pub(crate) struct Lowering {
    /// To another form.
    pub(crate) again: fn(&ModuleEnv, &FunctionBody, Form<'_>) -> Lowered,
    /// To know how the code relates to its bytecode.
    pub(crate) record: fn(&ModuleEnv, &FunctionBody, Form<'_>) -> Sites,
}

// SAFETY: `entry` and `first` point into `code`, which is never written again, or `entry` into `continuations`, whose
// words are atomic, and `form_of` to the code that owns this.
unsafe impl Send for LoweredCode {}
// SAFETY: as above.
unsafe impl Sync for LoweredCode {}

/// How a body is lowered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form<'a> {
    /// As fast as it gets.
    Usual,
    /// See [`LoweredCode::settled`].
    Settled,
    /// See [`LoweredCode::with_exits`]. Points, ascending.
    WithExits(&'a [u32]),
}

/// What lowering produces.
pub(crate) struct Lowered {
    pub(crate) code: Box<[u8]>,
    pub(crate) locals: u32,
    pub(crate) params: u32,
    pub(crate) slots_above: u32,
    pub(crate) first_temp: u32,
    /// See [`LoweredCode::has_vectors`].
    pub(crate) has_vectors: bool,
    /// Whether no frame of the code can be made.
    pub(crate) too_large: bool,
    pub(crate) has_handlers: bool,
    pub(crate) has_tail_calls: bool,
}

/// More bytes than any stack has. The sum of this and an address does not wrap.
const TOO_LARGE: usize = 1 << 62;

impl LoweredCode {
    /// Offset of the address of the first instruction.
    pub(crate) const FIRST: i32 = std::mem::offset_of!(LoweredCode, first) as i32;

    pub(crate) fn new(
        body: FunctionBody,
        lowered: Lowered,
        lowering: &'static Lowering,
    ) -> LoweredCode {
        LoweredCode {
            entry: AtomicPtr::new(lowered.code.as_ptr().cast_mut()),
            first: lowered.code.as_ptr(),
            frame_bytes: if lowered.too_large {
                TOO_LARGE
            } else {
                (lowered.locals as usize + lowered.slots_above as usize) * 8
            },
            locals: lowered.locals,
            params: lowered.params,
            slots_above: lowered.slots_above,
            first_temp: lowered.first_temp,
            has_vectors: lowered.has_vectors,
            has_handlers: lowered.has_handlers,
            has_tail_calls: lowered.has_tail_calls,
            code: lowered.code,
            continuations: OnceLock::new(),
            body,
            sites: OnceLock::new(),
            settled: OnceLock::new(),
            with_exits: OnceLock::new(),
            exits: Box::default(),
            form_of: std::ptr::null(),
            lowering,
        }
    }

    /// The bytecode.
    pub fn body(&self) -> &FunctionBody {
        &self.body
    }

    /// Whether locals or operands of its frames are vectors.
    pub fn has_vectors(&self) -> bool {
        self.has_vectors
    }

    /// Whether the body ends in tail calls, or may.
    pub fn has_tail_calls(&self) -> bool {
        self.has_tail_calls
    }

    /// Slots of a frame on the value stack.
    pub fn frame_slots(&self) -> usize {
        self.frame_bytes / 8
    }

    /// Slots of the locals, parameters included: the first part of a canonical frame.
    pub fn local_slots(&self) -> usize {
        self.locals as usize
    }

    /// Bytes of memory that this code occupies, without its bytecode.
    pub fn memory_size(&self) -> usize {
        let forms = [&self.settled, &self.with_exits];
        let forms = forms.into_iter().filter_map(OnceLock::get).map(|code| code.memory_size());
        let continuations = self.continuations.get().map_or(0, |own| own.memory_size());
        size_of::<LoweredCode>() + self.code.len() + continuations + forms.sum::<usize>()
    }

    /// Where calls begin.
    #[inline(always)]
    pub(crate) fn entry(&self) -> *const u8 {
        self.entry.load(Ordering::Relaxed)
    }

    /// The first instruction.
    pub(crate) fn first(&self) -> *const u8 {
        self.first
    }

    /// The instructions.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.code
    }

    /// The instruction at an offset behind a safepoint, in baseline code if there is some.
    pub(crate) fn at(&self, offset: u32) -> *const u8 {
        let word = self.continuations.get().and_then(|continuations| continuations.at(offset));
        word.unwrap_or_else(|| self.code.as_ptr().wrapping_add(offset as usize))
    }

    /// Offset of an instruction, of which this may be a copy.
    pub(crate) fn offset_of(&self, ip: *const u8) -> u32 {
        let offset = (ip as usize).wrapping_sub(self.first() as usize);
        // Behind the last instruction is that of a call that never returns.
        if offset <= self.code.len() {
            return offset as u32;
        }
        let continuations = self.continuations.get();
        let copied = continuations.and_then(|continuations| continuations.offset_of(ip));
        copied.expect("an instruction of this code")
    }

    /// The continuations, if there has been baseline code.
    pub(crate) fn continuations(&self) -> Option<&Continuations> {
        self.continuations.get().map(|continuations| &**continuations)
    }

    /// The continuations, which are made the first time.
    pub(crate) fn make_continuations(
        &self,
        make: impl FnOnce() -> Continuations,
    ) -> &Continuations {
        self.continuations.get_or_init(|| Box::new(make()))
    }

    /// Lets calls begin at the word of the entry, or at the first instruction.
    pub(crate) fn enter_by_word(&self, by_word: bool) {
        let word = self.continuations.get().filter(|_| by_word).map(|own| own.base());
        let entry = word.unwrap_or(self.code.as_ptr());
        self.entry.store(entry.cast_mut(), Ordering::Release);
    }

    /// The relation to the bytecode. `env` must be that of the body's module.
    pub(crate) fn sites(&self, env: &ModuleEnv) -> &Sites {
        self.sites.get_or_init(|| Box::new((self.lowering.record)(env, &self.body, self.form())))
    }

    /// Whether a frame can be suspended at `point`, and go on from there: something leads to it.
    /// `env` must be that of the body's module.
    pub fn has_safepoint(&self, env: &ModuleEnv, point: u32) -> bool {
        point == FunctionBody::ENTRY || self.sites(env).site(point).is_some()
    }

    /// Whether [`LoweredCode::handler`] may find one.
    pub fn has_handlers(&self) -> bool {
        self.has_handlers
    }

    /// The handler of an exception that comes out of the call or `throw` at this point, if there is one; `is_tag` says
    /// whether a tag index of the module means the exception's tag. `env` must be that of the body's module.
    pub fn handler(
        &self,
        env: &ModuleEnv,
        point: u32,
        mut is_tag: impl FnMut(u32) -> bool,
    ) -> Option<Handler> {
        if !self.has_handlers {
            return None;
        }
        let mut handlers = self.sites(env).handlers_at(point);
        handlers.find(|handler| handler.tag.is_none_or(&mut is_tag)).copied()
    }

    /// The same body, lowered such that at every call the operands below the arguments are in their
    /// places.
    ///
    /// The usual code may keep an operand in the local that it was read from. A frame that comes from
    /// elsewhere need not have it there: compiled code does not keep a local that is not read
    /// again, and a frame that was moved to a changed body may hold any other value in it.
    ///
    /// The code must not be moved any more.
    pub(crate) fn settled(&self, env: &ModuleEnv) -> &LoweredCode {
        self.settled.get_or_init(|| self.lowered_again(env, Form::Settled))
    }

    /// The same body, lowered such that frames ask `Builtins::continuation` at each of these points, which
    /// are loops and calls in ascending order, each time that they come there. That is what frames run that
    /// have to stay in a replaced body until they come to a point where they need not. Operands are where
    /// [`LoweredCode::settled`] has them.
    ///
    /// The points must be the same each time, and the code must not be moved any more.
    pub fn with_exits(&self, env: &ModuleEnv, points: &[u32]) -> &LoweredCode {
        let code = self.with_exits.get_or_init(|| {
            let mut code = self.lowered_again(env, Form::WithExits(points));
            code.exits = points.into();
            code
        });
        debug_assert_eq!(&*code.exits, points, "frames of one body leave it at the same points");
        code
    }

    /// Another form of this code, with its address in it.
    fn lowered_again(&self, env: &ModuleEnv, form: Form<'_>) -> Box<LoweredCode> {
        let lowered = (self.lowering.again)(env, &self.body, form);
        let mut code = Box::new(LoweredCode::new(self.body.clone(), lowered, self.lowering));
        code.form_of = self;
        code
    }

    fn form(&self) -> Form<'_> {
        match &*self.exits {
            _ if self.form_of.is_null() => Form::Usual,
            [] => Form::Settled,
            exits => Form::WithExits(exits),
        }
    }

    /// The code that `crate::lower::lower` made, of which this may be another form.
    pub(crate) fn usual(&self) -> *const LoweredCode {
        if self.form_of.is_null() { self } else { self.form_of }
    }
}

/// Where an operand lies that is not in its place on the operand stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SuspendedAt {
    /// It still equals this slot of the locals.
    Local(u32),
    /// It is a constant.
    Const(u64),
}

/// A safepoint inside a body: a loop header or a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    pub(crate) point: u32,
    pub(crate) kind: SiteKind,
    /// The instruction at which a frame goes on: behind the loop header or the call.
    pub(crate) resume: u32,
    /// Slots of the operands: at a call without its arguments and results.
    pub(crate) height: u32,
    /// Slots of the call's results; 0 at a loop header.
    pub(crate) results: u32,
    /// Range in `Sites::exceptions`.
    pub(crate) exceptions: (u32, u32),
}

/// A handler: a clause of a `try_table`, or a legacy `catch` or `catch_all`.
///
/// Where it begins is a safepoint of its own, at which a frame is as at a poll: its operands are those below the
/// handler's, then what the exception carries and, if it is caught by reference, the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handler {
    /// Tag index; `None` catches everything.
    pub tag: Option<u32>,
    /// Whether it is given the exception by reference.
    pub by_ref: bool,
    /// Its safepoint: offset of the operator, or for the `n`th clause of a `try_table` `n + 1` bytes behind that's.
    pub point: u32,
    /// Operands below its own.
    pub height: u32,
}

/// The body of a `try` or `try_table`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TryRegion {
    /// Point of its operator.
    pub(crate) start: u32,
    /// Point of the operator that ends it.
    pub(crate) end: u32,
    /// In the order in which they see exceptions.
    pub(crate) handlers: SmallVec<[Handler; 1]>,
    /// The region that it lies in.
    pub(crate) outer: Option<u32>,
    /// The region that sees what this one does not catch: `outer`, or another one further out if a `delegate` says so.
    pub(crate) next: Option<u32>,
}

/// How lowered code relates to its bytecode.
#[derive(Default, Debug)]
pub(crate) struct Sites {
    /// `(offset of an instruction, point)`, ascending.
    pub(crate) instructions: Vec<(u32, u32)>,
    /// Ascending by point.
    pub(crate) sites: Vec<Site>,
    pub(crate) exceptions: Vec<(u32, SuspendedAt)>,
    /// Ascending by start.
    pub(crate) regions: Vec<TryRegion>,
}

impl Sites {
    /// The operator whose instruction the offset lies in.
    pub(crate) fn point_at(&self, offset: u32) -> u32 {
        match self.instructions.partition_point(|&(at, _)| at <= offset) {
            0 => FunctionBody::ENTRY,
            n => self.instructions[n - 1].1,
        }
    }

    /// The handlers that see an exception which comes out of the operator at a point, in order.
    pub(crate) fn handlers_at(&self, point: u32) -> impl Iterator<Item = &Handler> {
        // Of the regions that have begun the last one is the innermost, or lies in the innermost.
        let begun = self.regions.partition_point(|region| region.start < point);
        let mut at = begun.checked_sub(1).map(|last| last as u32);
        while let Some(region) = at.map(|at| &self.regions[at as usize])
            && region.end <= point
        {
            at = region.outer;
        }
        std::iter::successors(at, |&at| self.regions[at as usize].next)
            .flat_map(|at| &self.regions[at as usize].handlers)
    }

    /// The safepoint at a point.
    pub(crate) fn site(&self, point: u32) -> Option<&Site> {
        let index = self.sites.binary_search_by_key(&point, |s| s.point).ok()?;
        Some(&self.sites[index])
    }

    /// The operands that are not in their places while a frame is suspended at `site`.
    pub(crate) fn exceptions(&self, site: &Site) -> &[(u32, SuspendedAt)] {
        &self.exceptions[site.exceptions.0 as usize..site.exceptions.1 as usize]
    }

    /// Whether a canonical frame agrees with what the code takes operands for that it does not keep
    /// in their places.
    pub(crate) fn agree(&self, site: &Site, values: &[u64], locals: usize) -> bool {
        self.exceptions(site).iter().all(|&(index, at)| {
            let expected = match at {
                SuspendedAt::Local(local) => values[local as usize],
                SuspendedAt::Const(bits) => bits,
            };
            values[locals + index as usize] == expected
        })
    }
}
