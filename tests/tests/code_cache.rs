//! Code that was replaced is published from a copy when the same is asked for again, and only then.

use midair::stats::CodeCacheStats;
use midair::{
    Config, Engine, Event, Instance, Module, OptLevel, RecompileOptions, Store, Tier, TypedFunc,
};

fn engine(cache: usize) -> Engine {
    Engine::new(Config::new().tier(Tier::Optimized).code_cache(cache)).unwrap()
}

/// `f` adds `step` at each iteration, and calls `g`; `g` is of the same type as `f`, with its body if `twins`.
fn program(step: u32, twins: bool) -> String {
    let body = |callee: &str, step: u32| {
        format!(
            r#"(param i32) (result i32) (local i32 i32)
            (loop $next
                (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                (local.set 2 (call {callee} (i32.const 0)))
                (br_if $next (i32.gt_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (i32.const 0))))
            (i32.add (local.get 1) (local.get 2))"#
        )
    };
    let g = if twins { body("$h", step) } else { "(param i32) (result i32) (local.get 0)".into() };
    format!(
        r#"(module
            (func $h (param i32) (result i32) (local.get 0))
            (func $f (export "f") {})
            (func $g (export "g") {g}))"#,
        body("$h", step)
    )
}

struct Subject {
    engine: Engine,
    module: Module,
    store: Store<()>,
    f: TypedFunc<i32, i32>,
    function: u32,
}

impl Subject {
    fn new(engine: &Engine, text: &str) -> Subject {
        let module = Module::new(engine, text).unwrap();
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
        f.call(&mut store, 1).unwrap();
        g.call(&mut store, 1).unwrap();
        let function = module.function_index("f").unwrap();
        Subject { engine: engine.clone(), module, store, f, function }
    }

    fn body(&self, step: u32) -> Vec<u8> {
        let edited = Module::new(&self.engine, program(step, false)).unwrap();
        edited.function_body("f").unwrap()
    }

    /// Gives `f` the body with this step, and calls it.
    fn replace(&mut self, step: u32) {
        self.module.replace_function(self.function, &self.body(step)).unwrap();
        assert_eq!(self.f.call(&mut self.store, 10).unwrap(), 10 * step as i32);
    }

    fn stats(&self) -> CodeCacheStats {
        self.engine.stats().code_cache
    }

    /// The machine code of `f` that calls go to.
    fn code(&self) -> Vec<u8> {
        let ledger = self.engine.code_ledger();
        let entry = ledger.code.iter().find(|entry| entry.function == self.function).unwrap();
        // SAFETY: nobody replaces the code meanwhile.
        unsafe { std::slice::from_raw_parts(entry.address as *const u8, entry.bytes).to_vec() }
    }

    /// Does something, and returns how many hits and misses that were.
    fn counted(&mut self, act: impl FnOnce(&mut Subject)) -> (u64, u64) {
        let before = self.stats();
        act(self);
        let after = self.stats();
        (after.hits - before.hits, after.misses - before.misses)
    }
}

#[test]
fn a_body_that_comes_back_gets_the_code_that_the_compiler_would_make() {
    let mut subject = Subject::new(&engine(1 << 20), &program(1, false));
    let mut compiled = Subject::new(&engine(0), &program(1, false));
    let events = subject.engine.events();
    let mut codes = Vec::new();
    for step in [1, 2, 1, 2, 1] {
        subject.replace(step);
        compiled.replace(step);
        codes.push(subject.code());
        assert_eq!(subject.code(), compiled.code(), "step {step}");
    }
    assert!(codes[0] == codes[2] && codes[1] == codes[3] && codes[0] != codes[1]);
    let cached = std::iter::from_fn(|| events.try_next()).filter_map(|event| match event {
        Event::Compiled { cached, .. } => Some(cached),
        _ => None,
    });
    // The first replacement has retired the code of its own body after it was compiled.
    assert_eq!(cached.collect::<Vec<_>>(), [false, false, true, true, true]);
    // `h`, `g`, `f` when they were called first, and two of the replacements.
    assert_eq!(subject.engine.stats().optimized_compilation.count, 5);
    assert_eq!(compiled.stats(), CodeCacheStats::default());
    assert_eq!(compiled.engine.stats().optimized_compilation.count, 8);
}

#[test]
fn undoing_compiles_nothing() {
    let mut subject = Subject::new(&engine(1 << 20), &program(1, false));
    let body = subject.body(2);
    let undone = subject.counted(|subject| {
        let applied = subject.module.update().body(subject.function, body).apply().unwrap();
        applied.undo().unwrap();
    });
    assert_eq!(undone, (1, 1));
    assert_eq!(subject.f.call(&mut subject.store, 10).unwrap(), 10);
}

#[test]
fn another_body_other_options_another_function_and_another_module_are_compiled() {
    let engine = engine(1 << 20);
    let mut subject = Subject::new(&engine, &program(1, true));
    subject.replace(2);
    subject.replace(3);
    // Copies of steps 1 and 2 are there.
    assert_eq!(subject.stats().entries, 2);
    assert_eq!(subject.counted(|subject| subject.replace(4)), (0, 1), "another body");

    let speed = RecompileOptions::optimized();
    let small = speed.opt_level(OptLevel::SpeedAndSize);
    let recompile = |options: RecompileOptions| {
        move |subject: &mut Subject| {
            subject.module.recompile(subject.function, &options).unwrap();
        }
    };
    assert_eq!(subject.counted(recompile(small)), (0, 1), "other options");
    assert_eq!(subject.counted(recompile(speed)), (1, 0), "the options from before");
    assert_eq!(subject.counted(recompile(small)), (1, 0), "the other ones once more");
    assert_eq!(subject.counted(recompile(RecompileOptions::unoptimized())), (0, 1), "another tier");

    // `g` has the body that `f` had at first, of which there is a copy.
    let g = subject.module.function_index("g").unwrap();
    let body = subject.module.function_body("g").unwrap();
    let same = |subject: &mut Subject| {
        subject.module.replace_function(g, &body).unwrap();
    };
    assert_eq!(subject.counted(same), (0, 1), "another function");

    let mut other = Subject::new(&engine, &program(9, false));
    assert_eq!(other.counted(|other| other.replace(1)), (0, 1), "another module");
}

#[test]
fn copies_take_no_more_memory_than_is_allowed() {
    const LIMIT: usize = 8 << 10;
    let mut subject = Subject::new(&engine(LIMIT), &program(1, false));
    for step in 2..40 {
        subject.replace(step);
        let stats = subject.stats();
        assert!(stats.bytes <= LIMIT as u64, "{stats:?}");
        assert_eq!((stats.entries == 0), (stats.bytes == 0), "{stats:?}");
    }
    let stats = subject.stats();
    assert!(stats.entries >= 2, "{stats:?}");
    assert_eq!(subject.counted(|subject| subject.replace(1)), (0, 1), "the oldest has given way");
    assert_eq!(subject.counted(|subject| subject.replace(39)), (1, 0), "the newest is there");
}

#[test]
fn copies_go_with_their_module() {
    let engine = engine(1 << 20);
    let mut subject = Subject::new(&engine, &program(1, false));
    let mut other = Subject::new(&engine, &program(1, false));
    subject.replace(2);
    other.replace(2);
    assert_eq!(engine.stats().code_cache.entries, 2);
    drop(subject);
    assert_eq!(engine.stats().code_cache.entries, 1);
    assert_eq!(other.counted(|other| other.replace(1)), (1, 0));
    drop(other);
    let stats = engine.stats().code_cache;
    assert_eq!((stats.entries, stats.bytes), (0, 0));
}

#[test]
fn suspended_frames_move_out_of_code_from_a_copy() {
    let engine = engine(1 << 20);
    let text = |step: u32| {
        format!(
            r#"(module (import "host" "swap" (func $swap))
                (func (export "f") (param i32) (result i32) (local i64)
                    (local.set 1 (i64.const {step}))
                    (call $swap)
                    (i32.add (local.get 0) (i32.wrap_i64 (local.get 1)))))"#
        )
    };
    let module = Module::new(&engine, text(1)).unwrap();
    let bodies =
        [2, 1].map(|step| Module::new(&engine, text(step)).unwrap().function_body("f").unwrap());
    let function = module.function_index("f").unwrap();
    let mut linker = midair::Linker::new(&engine);
    let target = module.clone();
    let swap = move |mut caller: midair::Caller<'_, usize>| -> midair::Result<()> {
        *caller.data_mut() += 1;
        let report = target.replace_function(function, &bodies[(*caller.data() - 1) % 2])?;
        assert_eq!(report.frames_redirected, 1);
        Ok(())
    };
    linker.func_wrap("host", "swap", swap).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for round in 0..10 {
        // The frame has its constant from the body that it began in.
        assert_eq!(f.call(&mut store, 100).unwrap(), 101 + round % 2);
    }
    let stats = engine.stats().code_cache;
    assert_eq!((stats.hits, stats.misses), (9, 2));
}

/// A small function has no poll in the body that was loaded. In any later one it must have: a thread must not run it
/// before it has been served what belongs to it.
#[test]
fn code_without_a_poll_is_not_given_to_a_later_version() {
    let engine = engine(1 << 20);
    let text =
        |result: i32| format!(r#"(module (func (export "f") (result i32) (i32.const {result})))"#);
    let module = Module::new(&engine, text(1)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 1);
    let bytes = || engine.code_ledger().code[0].bytes;
    let loaded = bytes();
    let edited = Module::new(&engine, text(2)).unwrap().function_body("f").unwrap();
    let applied = module.update().body(0, edited).apply().unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 2);
    applied.undo().unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 1);
    assert!(bytes() > loaded, "it polls");
    assert_eq!(engine.stats().code_cache.hits, 0);
}
