//! Listing the frames of a guest that is suspended in a host function, with what they hold.
//!
//! A frame of machine code is read through its frame map, one of the interpreter from its slots; both are
//! told in the same form, and a guest's frames look the same in every tier. Nothing is moved: not even
//! frames that wait for it because their code is gone.

use super::backtrace::interpreted;
use super::code_frames::object_info;
use super::guest_frames::{GuestFrame, GuestFrames};
use crate::code::continuation::Continuation;
use crate::code::module_code::ModuleCode;
use crate::code::version::CodeOwner;
use crate::config::Tier;
use crate::live::safepoints::Safepoints;
use crate::module::Module;
use crate::store::backtrace::FrameInfo;
use crate::store::caller::Caller;
use crate::store::of_context::module_of;
use crate::store::opaque::StoreOpaque;
use crate::store::value::Val;
use crate::store::{AsContext, Store, StoreContextMut, StoreContextRef};
use midair_osr::{FrameState, SuspendedFrame};
use midair_tiers::FunctionBody;
use midair_tiers::interp::{Activation, InterpFrame};
use midair_tiers::liveness::Liveness;
use midair_tiers::types::ValType;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// A frame of a guest that is suspended: see [`Caller::frames`].
#[derive(Clone)]
pub struct Frame {
    info: FrameInfo,
    version: u32,
    tier: Tier,
    waits_to_move: bool,
    locals: Vec<Option<Val>>,
    operands: Vec<Val>,
}

impl Frame {
    /// Where the frame is: function, module and instruction. `Display` shows it as a backtrace does.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The function's index in its module.
    pub fn func_index(&self) -> u32 {
        self.info.func_index()
    }

    /// The function's name, if the module's name section has one.
    pub fn func_name(&self) -> Option<&str> {
        self.info.func_name()
    }

    /// The module.
    pub fn module(&self) -> &Module {
        self.info.module()
    }

    /// Number of the function's version that the frame runs: 0 is the body that was loaded.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What runs the frame: [`Tier::Interp`] or [`Tier::Optimized`]. Baseline code runs on frames of the interpreter.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Offset of the call that the frame is suspended at in the function's body.
    pub fn func_offset(&self) -> usize {
        self.info.func_offset()
    }

    /// Offset of that call in the module's bytes. `None` if the function's body was replaced.
    pub fn module_offset(&self) -> Option<usize> {
        self.info.module_offset()
    }

    /// Whether the frame leaves what runs it when it is returned to: because its machine code was retired, or
    /// because its function was replaced and the frame goes on in the new body, or traps.
    pub fn waits_to_move(&self) -> bool {
        self.waits_to_move
    }

    /// The locals, parameters first. `None`: the value is not kept, because nothing reads it again.
    pub fn locals(&self) -> &[Option<Val>] {
        &self.locals
    }

    /// The operand stack, lowest first, as it is below the arguments of the call.
    pub fn operands(&self) -> &[Val] {
        &self.operands
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("func_index", &self.func_index())
            .field("func_name", &self.func_name())
            .field("version", &self.version)
            .field("tier", &self.tier)
            .field("func_offset", &self.func_offset())
            .field("waits_to_move", &self.waits_to_move)
            .field("locals", &self.locals)
            .field("operands", &self.operands)
            .finish()
    }
}

impl<T: 'static> Store<T> {
    /// The frames of the store's guest: see [`Caller::frames`]. None unless the guest is suspended in a
    /// host function that was handed this store.
    pub fn frames(&self) -> Vec<Frame> {
        self.as_context().frames()
    }

    /// The same without values: see [`Caller::frames_without_values`].
    pub fn frames_without_values(&self) -> Vec<Frame> {
        self.as_context().frames_without_values()
    }
}

impl<T: 'static> StoreContextRef<'_, T> {
    /// The frames of the store's guest: see [`Caller::frames`].
    pub fn frames(&self) -> Vec<Frame> {
        list(self.opaque(), true)
    }

    /// The same without values: see [`Caller::frames_without_values`].
    pub fn frames_without_values(&self) -> Vec<Frame> {
        list(self.opaque(), false)
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// The frames of the store's guest: see [`Caller::frames`].
    pub fn frames(&self) -> Vec<Frame> {
        list(self.opaque(), true)
    }

    /// The same without values: see [`Caller::frames_without_values`].
    pub fn frames_without_values(&self) -> Vec<Frame> {
        list(self.opaque(), false)
    }
}

impl<T: 'static> Caller<'_, T> {
    /// The frames of the guest that has called this host function, innermost first, with their locals and
    /// operands; those of other instances and of outer calls from the host included.
    ///
    /// ```
    /// use midair::{Caller, Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(
    ///     &engine,
    ///     r#"(module
    ///         (import "host" "look" (func $look))
    ///         (func $f (export "f") (param $n i32) (result i32)
    ///             (i32.add (i32.const 5) (block (result i32) (call $look) (local.get $n)))))"#,
    /// )?;
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap("host", "look", |caller: Caller<'_, ()>| {
    ///     let frames = caller.frames();
    ///     assert_eq!(frames[0].func_name(), Some("f"));
    ///     assert_eq!(frames[0].locals()[0].as_ref().unwrap().unwrap_i32(), 42);
    ///     assert_eq!(frames[0].operands()[0].unwrap_i32(), 5);
    /// })?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// instance.get_typed_func::<i32, i32>(&mut store, "f")?.call(&mut store, 42)?;
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn frames(&self) -> Vec<Frame> {
        self.as_context().frames()
    }

    /// The same, but with no locals and no operands: this takes time for each frame only, while
    /// [`Caller::frames`] validates the body of each function that has one.
    pub fn frames_without_values(&self) -> Vec<Frame> {
        self.as_context().frames_without_values()
    }
}

/// Lists the frames of a store's guest.
fn list(store: &StoreOpaque, with_values: bool) -> Vec<Frame> {
    store.process.assert_current();
    let mut shapes = with_values.then(Shapes::default);
    // SAFETY: the store is borrowed, so its guest does not run: it is suspended in a call of the host on this
    // thread, or there is none.
    let machine = unsafe {
        // Requesters, which redirect return addresses, are kept off.
        store.mutator.stopped(store.stack(), |stack| (*stack).read_frames().collect::<Vec<_>>())
    };
    let machine = machine.into_iter().map(|frame| (frame.entries, frame));
    // SAFETY: as above: activations stand still too.
    unsafe {
        GuestFrames::new(machine, Activation::innermost(store.runtime()))
            .filter_map(|frame| match frame {
                GuestFrame::Machine(frame) => compiled_frame(store, frame, &mut shapes),
                GuestFrame::Interpreted(frame) => {
                    Some(interpreted_frame(store, &frame, &mut shapes))
                }
            })
            .collect()
    }
}

/// A frame of machine code.
///
/// # Safety
/// It must be one of the store's guest, which stands still.
unsafe fn compiled_frame(
    store: &StoreOpaque,
    frame: SuspendedFrame,
    shapes: &mut Option<Shapes>,
) -> Option<Frame> {
    let owner = CodeOwner::of(&frame.object);
    let body = &owner.version.body;
    let module = owner.module.upgrade()?;
    let mut told = Frame {
        // A return address stands behind its call.
        info: object_info(&frame.object, frame.pc - 1)?,
        version: body.version,
        tier: owner.tier(),
        waits_to_move: frame.redirected,
        locals: Vec::new(),
        operands: Vec::new(),
    };
    if let (Some(shapes), Some(FrameState { point, values, .. })) = (shapes, frame.state)
        && let Some(shape) = shapes.of(&module, body)
    {
        // SAFETY: the values are those of a frame of this body at this point.
        unsafe { shape.fill(&mut told, point, values.into_iter(), store) };
    }
    Some(told)
}

/// A frame of the interpreter.
///
/// # Safety
/// It must be one of the store's guest, which stands still.
unsafe fn interpreted_frame(
    store: &StoreOpaque,
    frame: &InterpFrame<'_>,
    shapes: &mut Option<Shapes>,
) -> Frame {
    // SAFETY: as the caller vouches; lowered code is kept while frames run it.
    let (module, info, body) =
        unsafe { (module_of(frame.context()), interpreted(frame), (*frame.code()).body()) };
    let point = frame.point();
    let version = module.version_of(frame.code(), body.function);
    let goes_on = version.map_or(Continuation::Stay, |version| version.continuation(point));
    let mut told = Frame {
        info,
        version: body.version,
        tier: Tier::Interp,
        waits_to_move: !matches!(goes_on, Continuation::Stay),
        locals: Vec::new(),
        operands: Vec::new(),
    };
    if let Some(shapes) = shapes
        && let Some(slots) = frame.capture()
        && let Some(shape) = shapes.of(&module, body)
    {
        let mut slots = slots.into_iter();
        let values = shape.kinds(point).map(|kind| {
            let low = slots.next()?;
            Some([low, if kind.slots() > 1 { slots.next()? } else { 0 }])
        });
        // SAFETY: the values are those of a frame of this body at this point.
        unsafe { shape.fill(&mut told, point, values, store) };
    }
    told
}

/// What the validator knows of bodies that have frames, by module, function and version.
#[derive(Default)]
struct Shapes {
    known: HashMap<(*const ModuleCode, u32, u32), Option<Rc<Shape>>>,
}

/// What a body's frames look like.
struct Shape {
    safepoints: Safepoints,
    /// `None` for a body that is too large for it, which is never compiled.
    liveness: Option<Liveness>,
}

impl Shapes {
    /// `None` if the body cannot be analysed, which has been validated before it ran.
    fn of(&mut self, module: &Arc<ModuleCode>, body: &FunctionBody) -> Option<Rc<Shape>> {
        let key = (Arc::as_ptr(module), body.function, body.version);
        let shape = self.known.entry(key).or_insert_with(|| {
            let validation = module.validation(body.function);
            let safepoints = Safepoints::new(&module.env, body, validation).ok()?;
            let liveness = Liveness::new(body, safepoints.locals.len() as u32).ok();
            Some(Rc::new(Shape { safepoints, liveness }))
        });
        shape.clone()
    }
}

impl Shape {
    fn operands(&self, point: u32) -> Vec<ValType> {
        let points = &self.safepoints.points;
        match points.binary_search_by_key(&point, |safepoint| safepoint.point) {
            Ok(i) => self.safepoints.operands(&points[i]),
            Err(_) => Vec::new(),
        }
    }

    /// The representations of the values of a frame at this point, in canonical order.
    fn kinds(&self, point: u32) -> impl Iterator<Item = midair_osr::ValueKind> + '_ {
        self.safepoints.locals.iter().copied().chain(self.operands(point)).map(|ty| ty.kind())
    }

    /// Whether something may read the local once the frame goes on.
    ///
    /// Of one that nothing reads no tier is sure to have the value: compiled code does not keep it, so that
    /// a frame that has left compiled code for the interpreter does not have it either.
    fn is_kept(&self, point: u32, local: usize) -> bool {
        let Some(liveness) = &self.liveness else { return true };
        liveness.at(point).is_some_and(|live| live.contains(local as u32))
    }

    /// Gives the frame its values.
    ///
    /// # Safety
    /// They must be the values, in canonical order, of a frame of this body in `store` at this point.
    unsafe fn fill(
        &self,
        frame: &mut Frame,
        point: u32,
        mut values: impl Iterator<Item = Option<[u64; 2]>>,
        store: &StoreOpaque,
    ) {
        let typed = |ty: &ValType, value: Option<[u64; 2]>| {
            // SAFETY: a value of this type that belongs to the store, as the caller vouches.
            value.map(|slots| unsafe { Val::from_slots(slots, *ty, store) })
        };
        for (local, ty) in self.safepoints.locals.iter().enumerate() {
            let value = values.next().flatten().filter(|_| self.is_kept(point, local));
            frame.locals.push(typed(ty, value));
        }
        frame.locals.truncate(self.safepoints.locals.len() - self.safepoints.hidden);
        // Operands are always kept: something will take them from the stack.
        frame.operands.extend(
            self.operands(point).iter().zip(values).filter_map(|(ty, value)| typed(ty, value)),
        );
    }
}
