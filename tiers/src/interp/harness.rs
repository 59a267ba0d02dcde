//! An instance made by hand, for tests: the runtime calls in their simplest form, no imports.

use super::{Exit, LoweredCode, call};
use crate::baseline::{self, BaselineCode};
use crate::body::FunctionBody;
use crate::context::*;
use crate::module_env::{GlobalType, MemoryType, ModuleEnv, TableType};
use crate::trap::TrapCode;
use crate::types::{FuncType, TypeId, ValType};
use midair_osr::{CalloutFrame, CodeHeap, ContextHeader, StackContext};
use std::cell::Cell;
use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, Operator, Parser, Payload,
    ValidPayload, Validator,
};

/// What a test wants to happen at safepoints.
pub(crate) type OnSafepoint =
    Box<dyn FnMut(*mut InstanceContext, u32, u32, bool) -> SafepointAction>;

/// What a test wants to become of frames when the epoch has changed.
pub(crate) type OnContinuation = Box<dyn FnMut(&mut SuspendedFrame) -> FrameContinuation>;

/// An instance with a store of its own.
#[allow(clippy::vec_box)] // The contexts point to the elements.
pub(crate) struct Instance {
    pub(crate) env: Box<ModuleEnv>,
    pub(crate) exports: HashMap<String, u32>,
    pub(crate) bodies: Vec<FunctionBody>,
    pub(crate) store: Box<StoreContext>,
    context: *mut InstanceContext,
    values: Vec<u64>,
    memories: Vec<Box<MemoryDef>>,
    tables: Vec<Box<TableDef>>,
    data: Vec<Vec<u8>>,
    elements: Vec<Vec<u64>>,
    func_refs: Vec<FuncRef>,
    functions: Vec<FunctionState>,
    validation: Vec<
        Option<(
            wasmparser::FuncToValidate<wasmparser::ValidatorResources>,
            wasmparser::FunctionBody<'static>,
        )>,
    >,
    codes: Vec<Box<LoweredCode>>,
    pub(crate) on_safepoint: Option<OnSafepoint>,
    pub(crate) on_continuation: Option<OnContinuation>,
    pub(crate) epoch: Box<AtomicU64>,
    /// Points of the frames of the last trap, innermost first, with their functions.
    pub(crate) backtrace: Vec<(u32, u32)>,
    _own: Vec<Box<dyn std::any::Any>>,
}

thread_local! {
    /// Where functions get baseline code at their first call.
    static BASELINE_HEAP: Cell<Option<&'static CodeHeap>> = const { Cell::new(None) };
}

/// Runs a test such that functions get baseline code at their first call.
pub(crate) fn with_baseline_code<R>(test: impl FnOnce() -> R) -> R {
    let heap = CodeHeap::new(1 << 28).expect("there is address space");
    BASELINE_HEAP.set(Some(Box::leak(Box::new(heap))));
    let result = test();
    BASELINE_HEAP.set(None);
    result
}

/// Bytes reserved for each memory.
const RESERVED: usize = 1 << 26;
/// Elements reserved for each table.
const TABLE_RESERVED: usize = 1 << 12;

impl Instance {
    pub(crate) fn new(wat: &str) -> Box<Instance> {
        Instance::with(wat, |_| {})
    }

    /// Makes an instance of a module; `change` may change its environment first.
    pub(crate) fn with(wat: &str, change: impl FnOnce(&mut ModuleEnv)) -> Box<Instance> {
        Instance::try_new(&wat::parse_str(wat).unwrap(), change).unwrap()
    }

    /// The same from binary, unless the module imports something or needs too much.
    pub(crate) fn try_new(
        wasm: &[u8],
        change: impl FnOnce(&mut ModuleEnv),
    ) -> Result<Box<Instance>, &'static str> {
        let wasm: &'static [u8] = Box::leak(Box::from(wasm));
        let mut env = ModuleEnv::default();
        let mut exports = HashMap::new();
        let mut bodies = Vec::new();
        let mut validation = Vec::new();
        let (mut memories, mut tables) = (Vec::new(), Vec::new());
        let mut global_values = Vec::new();
        let mut segments = Vec::new();
        let mut elements = Vec::new();
        let source: Arc<Vec<u8>> = Arc::new(wasm.to_vec());
        let mut own: Vec<Box<dyn std::any::Any>> = Vec::new();
        let mut validator = Validator::new();
        let mut start = None;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|_| "malformed")?;
            if let ValidPayload::Func(func, body) =
                validator.payload(&payload).map_err(|_| "invalid")?
            {
                let range = body.range();
                let function = bodies.len() as u32;
                bodies.push(FunctionBody::new(
                    source.clone(),
                    range.start as usize,
                    (range.end - range.start) as usize,
                    function,
                    0,
                ));
                validation.push(Some((func, body)));
                continue;
            }
            match payload {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        let ty = ty.unwrap();
                        let list = |types: &[wasmparser::ValType]| -> Vec<ValType> {
                            types.iter().map(|&t| env.val_type(t).unwrap()).collect()
                        };
                        let ty = FuncType::new(list(ty.params()), list(ty.results()));
                        env.shapes.push(crate::abi::call_shape(&ty));
                        let same = env.types.iter().position(|known| *known == ty);
                        let id = same.unwrap_or(env.types.len());
                        env.type_ids.push(TypeId::from_number(id as u32));
                        env.types.push(ty);
                    }
                }
                Payload::ImportSection(imports) if imports.count() > 0 => {
                    return Err("the harness has no imports");
                }
                Payload::FunctionSection(functions) => {
                    env.functions = functions.into_iter().map(Result::unwrap).collect();
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let ty = table.unwrap().ty;
                        if ty.initial > TABLE_RESERVED as u64 {
                            return Err("a large table");
                        }
                        env.tables.push(TableType {
                            element: env.val_type(ty.element_type.into()).unwrap(),
                            minimum: ty.initial,
                            maximum: ty.maximum,
                            is_64: ty.table64,
                        });
                        let cells = Box::leak(vec![0u64; TABLE_RESERVED].into_boxed_slice());
                        tables.push(Box::new(TableDef {
                            base: cells.as_mut_ptr(),
                            len: ty.initial as usize,
                        }));
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let ty = memory.unwrap();
                        if ty.initial << 16 > RESERVED as u64 {
                            return Err("a large memory");
                        }
                        env.memories.push(MemoryType::new(ty.initial, ty.maximum));
                        let mut bytes = vec![0u8; RESERVED];
                        let len = (ty.initial as usize) << 16;
                        memories.push(Box::new(MemoryDef::new(bytes.as_mut_ptr(), len)));
                        own.push(Box::new(bytes));
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global.unwrap();
                        env.globals.push(GlobalType {
                            content: env.val_type(global.ty.content_type).unwrap(),
                            mutable: global.ty.mutable,
                        });
                        global_values.push(global.init_expr);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.unwrap();
                        if export.kind == ExternalKind::Func {
                            exports.insert(export.name.to_string(), export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => start = Some(func),
                Payload::DataSection(section) => segments = section.into_iter().collect(),
                Payload::ElementSection(section) => elements = section.into_iter().collect(),
                _ => {}
            }
        }
        change(&mut env);

        const VALUES: usize = 1 << 16;
        let mut values = vec![0u64; VALUES + midair_osr::call::SLOTS_IN_PLACE];
        let mut store = Box::new(StoreContext {
            stack: StackContext::new(no_poll, no_trap),
            fuel: 0,
            calls: [0; 3],
            value_top: values.as_mut_ptr(),
            value_limit: values[..VALUES].as_mut_ptr_range().end,
            activation: ptr::null_mut(),
            trap: 0,
            owner: ptr::null_mut(),
            exception: ptr::null_mut(),
        });
        store.stack.resume = Box::leak(vec![0u64; 1 << 12].into_boxed_slice()).as_mut_ptr();
        let functions: Vec<FunctionState> =
            env.functions.iter().map(|_| FunctionState::new(ptr::null_mut(), i32::MAX)).collect();
        let env = Box::new(env);

        // The context, with the globals right behind it.
        let cells = env.globals.len();
        let words = (InstanceContext::SIZE + 16 * cells) / 16;
        let block: &'static mut [GlobalCell] =
            Box::leak(vec![GlobalCell([0; 2]); words].into_boxed_slice());
        let context = block.as_mut_ptr().cast::<InstanceContext>();
        let first_cell = InstanceContext::SIZE / 16;
        let globals: Vec<*mut GlobalCell> =
            (0..cells).map(|i| &raw mut block[first_cell + i]).collect();
        let memory_pointers: Vec<*mut MemoryDef> =
            memories.iter_mut().map(|m| &raw mut **m).collect();
        let table_pointers: Vec<*mut TableDef> = tables.iter_mut().map(|t| &raw mut **t).collect();
        let empty: &'static mut MemoryDef =
            Box::leak(Box::new(MemoryDef::new(ptr::dangling_mut(), 0)));
        let memory0 = memory_pointers.first().copied().unwrap_or(empty);
        let builtins = Box::leak(Box::new(BUILTINS));

        let mut instance = Box::new(Instance {
            exports,
            bodies,
            store,
            context,
            values,
            memories,
            tables,
            data: Vec::new(),
            elements: Vec::new(),
            func_refs: (0..env.functions.len())
                .map(|index| FuncRef {
                    entry: ptr::from_ref(&functions[index].entry),
                    context: context.cast(),
                    signature: env.type_ids[env.functions[index] as usize].number(),
                    index: index as u32,
                })
                .collect(),
            functions,
            validation,
            codes: Vec::new(),
            on_safepoint: None,
            on_continuation: None,
            epoch: Box::new(AtomicU64::new(0)),
            backtrace: Vec::new(),
            env,
            _own: Vec::new(),
        });
        // SAFETY: the block is large and aligned enough; everything that the context points to is
        // leaked or owned by the instance.
        unsafe {
            context.write(InstanceContext {
                header: ContextHeader {
                    callout: ptr::null(),
                    on_callout: no_callout,
                    stack: (&raw mut *instance.store).cast(),
                    poll: ptr::null(),
                },
                memory0_base: (*memory0).base,
                memory0,
                memories: memory_pointers.as_ptr(),
                tables: table_pointers.as_ptr(),
                globals: globals.as_ptr(),
                functions: instance.functions.as_ptr(),
                func_refs: instance.func_refs.as_mut_ptr(),
                signatures: instance.env.type_ids.as_ptr().cast(),
                builtins,
                env: &raw const *instance.env,
                owner: (&raw mut *instance).cast(),
                code: ptr::null_mut(),
                epoch: ptr::from_ref(&*instance.epoch),
                tags: ptr::null(),
            });
        }
        for (cell, value) in globals.iter().zip(&global_values) {
            let value = instance.evaluate_slots(value);
            // SAFETY: a cell of this instance.
            unsafe { (**cell).0 = value };
        }
        own.push(Box::new((memory_pointers, table_pointers, globals)));
        instance._own = own;
        for element in elements {
            let element = element.unwrap();
            let values: Vec<u64> = match element.items {
                ElementItems::Functions(functions) => functions
                    .into_iter()
                    .map(|f| &raw const instance.func_refs[f.unwrap() as usize] as u64)
                    .collect(),
                ElementItems::Expressions(_, expressions) => {
                    expressions.into_iter().map(|e| instance.evaluate(&e.unwrap())).collect()
                }
            };
            if let ElementKind::Active { table_index, offset_expr } = element.kind {
                let at = instance.evaluate(&offset_expr) as usize;
                let table = &instance.tables[table_index.unwrap_or(0) as usize];
                if at + values.len() > table.len {
                    return Err("a segment out of bounds");
                }
                // SAFETY: within the table.
                unsafe { ptr::copy(values.as_ptr(), table.base.add(at), values.len()) };
                instance.elements.push(Vec::new());
            } else if let ElementKind::Declared = element.kind {
                instance.elements.push(Vec::new());
            } else {
                instance.elements.push(values);
            }
        }
        for segment in segments {
            let segment = segment.unwrap();
            if let DataKind::Active { memory_index, offset_expr } = segment.kind {
                let at = instance.evaluate(&offset_expr) as usize;
                let memory = &instance.memories[memory_index as usize];
                if at + segment.data.len() > memory.len() {
                    return Err("a segment out of bounds");
                }
                // SAFETY: within the memory.
                unsafe {
                    ptr::copy(segment.data.as_ptr(), memory.base.add(at), segment.data.len());
                }
                instance.data.push(Vec::new());
            } else {
                instance.data.push(segment.data.to_vec());
            }
        }
        if let Some(start) = start {
            instance.call_index(start, &[]).unwrap();
        }
        Ok(instance)
    }

    fn evaluate(&self, expression: &ConstExpr<'_>) -> u64 {
        self.evaluate_slots(expression)[0]
    }

    fn evaluate_slots(&self, expression: &ConstExpr<'_>) -> [u64; 2] {
        let operator = expression.get_operators_reader().into_iter().next();
        let slot = match operator.unwrap().unwrap() {
            Operator::I32Const { value } => u64::from(value as u32),
            Operator::I64Const { value } => value as u64,
            Operator::F32Const { value } => u64::from(value.bits()),
            Operator::F64Const { value } => value.bits(),
            Operator::V128Const { value } => {
                let bits = u128::from_le_bytes(*value.bytes());
                return [bits as u64, (bits >> 64) as u64];
            }
            Operator::RefNull { .. } => 0,
            Operator::RefFunc { function_index } => {
                &raw const self.func_refs[function_index as usize] as u64
            }
            // SAFETY: a global of this instance.
            Operator::GlobalGet { global_index } => unsafe {
                return (**(*self.context).globals.add(global_index as usize)).0;
            },
            other => panic!("{other:?} in a constant expression"),
        };
        [slot, 0]
    }

    pub(crate) fn context(&self) -> *mut InstanceContext {
        self.context
    }

    pub(crate) fn base(&mut self) -> *mut u64 {
        self.values.as_mut_ptr()
    }

    pub(crate) fn results(&self, function: u32) -> Vec<u64> {
        let count = crate::types::slot_count(&self.env.func_type(function).results);
        self.values[..count].to_vec()
    }

    pub(crate) fn function(&self, name: &str) -> u32 {
        self.exports[name]
    }

    /// The code of a function, as lowered at its first call.
    pub(crate) fn code(&mut self, function: u32) -> &LoweredCode {
        let status = self.prepare(function);
        assert_eq!(status, 0);
        let code = self.functions[function as usize].lowered.load(Ordering::Acquire);
        // SAFETY: kept in `codes`.
        unsafe { &*code.cast::<LoweredCode>() }
    }

    pub(crate) fn state(&self, function: u32) -> &FunctionState {
        &self.functions[function as usize]
    }

    pub(crate) fn call(&mut self, name: &str, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        self.call_index(self.function(name), args)
    }

    pub(crate) fn call_index(&mut self, function: u32, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        self.values[..args.len()].copy_from_slice(args);
        let base = self.base();
        // SAFETY: the context is complete and the arguments are in place.
        match unsafe { call(self.context, function, base) } {
            Exit::Returned => Ok(self.results(function)),
            Exit::Trapped => Err(TrapCode::from_number(self.store.trap).unwrap()),
            Exit::Enter(_) | Exit::TailCall(_) => panic!("the interpreter wants to leave"),
        }
    }

    fn prepare(&mut self, function: u32) -> Status {
        if let Some((validation, _)) = self.validation[function as usize].take() {
            let body = &self.bodies[function as usize];
            let code = crate::lower::lower(&self.env, body, Some(validation)).unwrap();
            let code = Box::new(code);
            let state = &self.functions[function as usize];
            state.lowered.store(ptr::from_ref(&*code).cast_mut().cast(), Ordering::Release);
            if let Some(heap) = BASELINE_HEAP.get() {
                let BaselineCode { description, links } =
                    baseline::compile(&self.env, &code).expect("there is a baseline tier");
                let object = heap.publish(description, Arc::new(())).expect("there is room");
                // SAFETY: the heap is never dropped, and nobody frees what is in it.
                unsafe {
                    code.link_baseline(&links, object.start());
                    state.link_baseline(&links, object.start());
                }
            }
            self.codes.push(code);
        }
        0
    }

    fn at_safepoint(&mut self, function: u32, point: u32, hot: bool) -> SafepointAction {
        let Some(mut on_safepoint) = self.on_safepoint.take() else {
            return SafepointAction::Continue;
        };
        let action = on_safepoint(self.context, function, point, hot);
        self.on_safepoint = Some(on_safepoint);
        action
    }

    fn memory(&mut self, index: u32) -> &mut MemoryDef {
        &mut self.memories[index as usize]
    }
}

/// The instance that a runtime call comes from.
///
/// # Safety
/// `context` must be that of an `Instance`, which sets its owner before its code runs, and nothing else
/// may use the instance while the reference lives.
unsafe fn instance<'a>(context: *mut InstanceContext) -> &'a mut Instance {
    // SAFETY: made by `Instance::with`.
    unsafe { &mut *(*context).owner.cast::<Instance>() }
}

extern "sysv64" fn no_poll(_: *mut ContextHeader, _: *mut StackContext) -> usize {
    unreachable!()
}
extern "sysv64" fn no_trap(_: *mut StackContext, _: u32, _: usize, _: usize) {
    unreachable!()
}
extern "sysv64" fn no_callout(_: *mut ContextHeader, _: u32, _: *mut CalloutFrame) -> usize {
    unreachable!()
}

macro_rules! builtins {
    ($(fn $name:ident($instance:ident $(, $arg:ident: $ty:ty)*) $(-> $ret:ty)? $body:block)*) => {
        $(
            unsafe extern "sysv64" fn $name(
                context: *mut InstanceContext $(, $arg: $ty)*
            ) $(-> $ret)? {
                #[allow(unused_variables)]
                // SAFETY: made by `Instance::with`.
                let $instance = unsafe { instance(context) };
                #[allow(unused_unsafe)]
                // SAFETY: bounds are checked in each.
                unsafe { $body }
            }
        )*
        const BUILTINS: Builtins =
            Builtins {
                request_entry: midair_osr::request_entry(),
                more_arguments_entry: midair_osr::more_arguments_entry(),
                more_arguments_return: midair_osr::more_arguments_return(),
                $($name,)*
            };
    };
}

const OUT_OF_MEMORY: Status = TrapCode::MemoryOutOfBounds as u32;
const OUT_OF_TABLE: Status = TrapCode::TableOutOfBounds as u32;

fn fits(at: u64, len: u64, size: usize) -> bool {
    at + len <= size as u64
}

builtins! {
    fn memory_grow(i, memory: u32, delta: u64) -> u64 {
        let maximum = i.env.memories[memory as usize].maximum.unwrap_or(65536);
        let memory = i.memory(memory);
        let old = (memory.len() >> 16) as u64;
        if old + delta > maximum || (old + delta) << 16 > RESERVED as u64 {
            return 0xffff_ffff;
        }
        memory.set_len(((old + delta) << 16) as usize);
        old
    }
    fn memory_fill(i, memory: u32, dst: u64, value: u32, len: u64) -> Status {
        let m = i.memory(memory);
        if !fits(dst, len, m.len()) { return OUT_OF_MEMORY; }
        ptr::write_bytes(m.base.add(dst as usize), value as u8, len as usize);
        0
    }
    fn memory_copy(i, to: u32, from: u32, dst: u64, src: u64, len: u64) -> Status {
        let (base, size) = (i.memory(from).base, i.memory(from).len());
        let m = i.memory(to);
        if !fits(dst, len, m.len()) || !fits(src, len, size) { return OUT_OF_MEMORY; }
        ptr::copy(base.add(src as usize), m.base.add(dst as usize), len as usize);
        0
    }
    fn memory_init(i, memory: u32, segment: u32, dst: u64, src: u64, len: u64) -> Status {
        let data = i.data[segment as usize].clone();
        let m = i.memory(memory);
        if !fits(dst, len, m.len()) || !fits(src, len, data.len()) { return OUT_OF_MEMORY; }
        ptr::copy(data.as_ptr().add(src as usize), m.base.add(dst as usize), len as usize);
        0
    }
    fn data_drop(i, segment: u32) {
        i.data[segment as usize].clear();
    }
    fn table_grow(i, table: u32, value: u64, delta: u64) -> u64 {
        let maximum = i.env.tables[table as usize].maximum.unwrap_or(u64::MAX);
        let t = &mut i.tables[table as usize];
        let old = t.len as u64;
        if old + delta > maximum || old + delta > TABLE_RESERVED as u64 {
            return 0xffff_ffff;
        }
        for k in old..old + delta { *t.base.add(k as usize) = value; }
        t.len = (old + delta) as usize;
        old
    }
    fn table_fill(i, table: u32, dst: u64, value: u64, len: u64) -> Status {
        let t = &i.tables[table as usize];
        if !fits(dst, len, t.len) { return OUT_OF_TABLE; }
        for k in dst..dst + len { *t.base.add(k as usize) = value; }
        0
    }
    fn table_copy(i, to: u32, from: u32, dst: u64, src: u64, len: u64) -> Status {
        let (t, f) = (&i.tables[to as usize], &i.tables[from as usize]);
        if !fits(dst, len, t.len) || !fits(src, len, f.len) { return OUT_OF_TABLE; }
        ptr::copy(f.base.add(src as usize), t.base.add(dst as usize), len as usize);
        0
    }
    fn table_init(i, table: u32, segment: u32, dst: u64, src: u64, len: u64) -> Status {
        let elements = &i.elements[segment as usize];
        let t = &i.tables[table as usize];
        if !fits(dst, len, t.len) || !fits(src, len, elements.len()) { return OUT_OF_TABLE; }
        ptr::copy(elements.as_ptr().add(src as usize), t.base.add(dst as usize), len as usize);
        0
    }
    fn elem_drop(i, segment: u32) {
        i.elements[segment as usize].clear();
    }
    fn ref_func(i, function: u32) -> *const FuncRef {
        &raw const i.func_refs[function as usize]
    }
    fn prepare(i, function: u32) -> Status {
        i.prepare(function)
    }
    fn is_subtype(i, found: u32, expected: u32) -> u32 {
        // The harness has no types with subtypes.
        u32::from(found == expected)
    }
    fn hot(i, function: u32, point: u32) -> SafepointAction {
        i.functions[function as usize].countdown.store(i32::MAX, Ordering::Relaxed);
        i.at_safepoint(function, point, true)
    }
    fn safepoint(i, function: u32, point: u32) -> SafepointAction {
        i.at_safepoint(function, point, false)
    }
    fn continuation(i, frame: &mut SuspendedFrame) -> FrameContinuation {
        let Some(mut on_continuation) = i.on_continuation.take() else {
            return FrameContinuation::Stay;
        };
        let continuation = on_continuation(frame);
        i.on_continuation = Some(on_continuation);
        continuation
    }
    // These modules have no tags.
    fn throw(_i, _tag: u32, _values: *const u64) {
        unreachable!()
    }
    fn throw_ref(_i, _exception: u64) {
        unreachable!()
    }
    fn catch(_i, _handler: &crate::Handler, _to: *mut u64) {
        unreachable!()
    }
    fn notify(_i, _memory: u32, _at: u64, _count: u32) -> u64 {
        unreachable!("these modules have one thread")
    }
    fn wait(_i, _wait: &crate::context::Wait) -> u64 {
        unreachable!("these modules have one thread")
    }
    fn raise(i, code: u32) {
        assert_eq!(i.store.trap, code);
        let activation = super::Activation::innermost(&raw const *i.store).unwrap();
        i.backtrace = activation
            .frames()
            .map(|frame| ((*frame.code()).body().function, frame.point()))
            .collect();
    }
}
