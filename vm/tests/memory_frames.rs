//! Frames that are suspended while part of them lies in linear memory, as compilers of C and Rust lay it out.

use anyhow::Result;
use midair::{Caller, Config, Engine, Linker, Module, Refusal, Store, Tier};
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];

/// What unoptimised C comes to: `int a = 1, b = 1000; while (edit()) { a += 1; b += step; } return a + b;`, with `a` and
/// `b` in a frame of `size` bytes. `host.edit` says whether to go on.
fn program(size: u32, a: u32, b: u32, step: u32) -> String {
    format!(
        r#"(module (import "host" "edit" (func $edit (result i32)))
            (memory 2) (global $__stack_pointer (mut i32) (i32.const 66560))
            (func $run (export "run") (result i32) (local $frame i32)
                (global.set $__stack_pointer
                    (local.tee $frame (i32.sub (global.get $__stack_pointer) (i32.const {size}))))
                (i32.store offset={a} (local.get $frame) (i32.const 1))
                (i32.store offset={b} (local.get $frame) (i32.const 1000))
                (block $end
                    (loop $again
                        (br_if $end (i32.eqz (call $edit)))
                        (i32.store offset={a} (local.get $frame)
                            (i32.add (i32.load offset={a} (local.get $frame)) (i32.const 1)))
                        (i32.store offset={b} (local.get $frame)
                            (i32.add (i32.load offset={b} (local.get $frame)) (i32.const {step})))
                        (br $again)))
                (i32.mul (i32.const 10000) (i32.load offset={a} (local.get $frame)))
                (i32.load offset={b} (local.get $frame))
                (global.set $__stack_pointer (i32.add (local.get $frame) (i32.const {size})))
                i32.add))"#
    )
}

/// Runs `old` for four rounds, and makes it `new` in the second; why frames were refused.
fn edit(tier: Tier, old: impl AsRef<[u8]>, new: &str) -> (i32, Vec<Refusal>) {
    let engine = Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap();
    let module = Module::new(&engine, old).unwrap();
    let mut linker = Linker::new(&engine);
    let refusals = Arc::new(Mutex::new((0, Vec::new())));
    let (edited, new, state) = (module.clone(), new.to_owned(), refusals.clone());
    linker
        .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<i32> {
            let mut state = state.lock().unwrap();
            state.0 += 1;
            if state.0 == 2 {
                let applied = edited.update().module(&new)?.apply()?;
                state.1.extend(applied.functions.into_iter().flat_map(|f| f.refusals));
            }
            Ok(i32::from(state.0 <= 4))
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
    let result = run.call(&mut store, ()).unwrap();
    let refusals = std::mem::take(&mut refusals.lock().unwrap().1);
    (result, refusals)
}

fn why(refusals: &[Refusal]) -> Vec<String> {
    refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn a_frame_whose_layout_stays_goes_on_in_the_new_body() {
    for tier in TIERS {
        let (result, refusals) = edit(tier, program(16, 12, 8, 1), &program(16, 12, 8, 100));
        assert_eq!((result, why(&refusals)), (50_000 + 1301, vec![]), "{tier:?}");
    }
}

#[test]
fn variables_that_changed_places_in_memory_stay_in_the_old_body() {
    for tier in TIERS {
        let (result, refusals) = edit(tier, program(16, 12, 8, 1), &program(16, 8, 12, 1));
        assert_eq!(result, 50_000 + 1004, "{tier:?}");
        assert_eq!(
            why(&refusals),
            [
                "the frame of `run` in memory is laid out anew: what was at its byte 8 may be at its byte 12 \
              now"
            ]
        );
    }
}

#[test]
fn a_frame_of_another_size_stays_in_the_old_body() {
    for tier in TIERS {
        let (result, refusals) = edit(tier, program(16, 12, 8, 1), &program(32, 12, 8, 100));
        assert_eq!(result, 50_000 + 1004, "{tier:?}");
        assert_eq!(
            why(&refusals),
            ["the frame of `run` in memory is laid out anew: it is of 32 bytes instead of 16"]
        );
    }
}

#[test]
fn a_variable_in_memory_that_has_another_type_stays_in_the_old_body() {
    // `float b`.
    let float = r#"(f32.store offset=8 (local.get $frame)
        (f32.add (f32.load offset=8 (local.get $frame)) (f32.const 1)))
        (br $again)"#;
    let integer = r#"(i32.store offset=8 (local.get $frame)
        (i32.add (i32.load offset=8 (local.get $frame)) (i32.const 1)))
        (br $again)"#;
    let source = |step: &str| {
        let source = program(16, 12, 8, 1);
        let at = source.find("(i32.store offset=8 (local.get $frame)\n").unwrap();
        let end = source.find("(br $again)").unwrap() + "(br $again)".len();
        format!("{}{step}{}", &source[..at], &source[end..])
    };
    for tier in TIERS {
        let (result, refusals) = edit(tier, source(integer), &source(float));
        assert_eq!(result, 50_000 + 1004, "{tier:?}");
        assert_eq!(
            why(&refusals),
            [
                "the frame of `run` in memory is laid out anew: at its byte 8 it has a float of 4 bytes instead of an \
              integer of 4 bytes"
            ]
        );
    }
}

/// A module as linkers leave it: indices of globals and offsets take the most bytes that they may.
fn padded(text: &str) -> Vec<u8> {
    use wasmparser::{Operator, Parser, Payload};
    fn long(value: u32, bytes: &mut Vec<u8>) {
        bytes
            .extend((0..5).map(|i| (value >> (7 * i)) as u8 & 0x7f | if i < 4 { 0x80 } else { 0 }));
    }
    let wasm = wat::parse_str(text).unwrap();
    let (mut module, mut code) = (wasm_encoder::Module::new(), wasm_encoder::CodeSection::new());
    for payload in Parser::new(0).parse_all(&wasm) {
        let payload = payload.unwrap();
        if let Payload::CodeSectionEntry(body) = &payload {
            let mut operators = body.get_operators_reader().unwrap();
            let mut at = operators.original_position();
            let mut bytes = wasm[body.range().start as usize..at as usize].to_vec();
            while !operators.eof() {
                let operator = operators.read().unwrap();
                let end = operators.original_position();
                let before = &wasm[at as usize..end as usize];
                match operator {
                    Operator::GlobalGet { global_index: i }
                    | Operator::GlobalSet { global_index: i } => {
                        bytes.push(before[0]);
                        long(i, &mut bytes);
                    }
                    Operator::I32Load { memarg } | Operator::I32Store { memarg } => {
                        bytes.extend([before[0], memarg.align]);
                        long(memarg.offset as u32, &mut bytes);
                    }
                    _ => bytes.extend(before),
                }
                at = end;
            }
            code.raw(&bytes);
        } else if let Some((id, range)) = payload.as_section()
            && id != wasm_encoder::SectionId::Code as u8
        {
            if id == wasm_encoder::SectionId::Custom as u8 {
                module.section(&code);
            }
            let data = &wasm[range.start as usize..range.end as usize];
            module.section(&wasm_encoder::RawSection { id, data });
        }
    }
    module.finish()
}

#[test]
fn how_long_a_linker_made_indices_and_offsets_does_not_matter() {
    for tier in TIERS {
        let (result, refusals) =
            edit(tier, padded(&program(16, 12, 8, 1)), &program(16, 12, 8, 100));
        assert_eq!((result, why(&refusals)), (50_000 + 1301, vec![]), "{tier:?}");
    }
}

/// It has nothing in memory yet.
#[test]
fn a_frame_at_its_entry_goes_on_in_any_layout() {
    let engine = Engine::new(&Config::new()).unwrap();
    let module = Module::new(&engine, program(16, 12, 8, 1)).unwrap();
    for (size, mapped) in [(16, 3), (32, 1)] {
        let update = module.update().module(program(size, 12, 8, 100)).unwrap();
        let plan = update.plan().unwrap();
        assert_eq!(plan.functions[0].mapped.len(), mapped, "{size}");
    }
}
