use super::*;
use crate::config::{Config, Tier};
use crate::engine::Engine;
use crate::module::Module;
use proptest::prelude::*;
use std::fmt::Write;

/// Safepoints of the last function, and the types on its stacks as copies of the whole stack.
fn safepoints(text: &str) -> (Safepoints, Vec<Vec<ValType>>) {
    let engine = Engine::new(Config::new().tier(Tier::Interp)).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let body = module.state.code.current_body(LAST);
    let validate = || module.state.code.validation(LAST);
    let safepoints = Safepoints::new(&module.state.code.env, &body, validate()).unwrap();
    let copies = copies(&module.state.code.env, &body, validate(), &safepoints);
    (safepoints, copies)
}

/// The function that is looked at.
const LAST: u32 = 2;

fn module(body: &str) -> String {
    format!(
        "(module (func $void) (func $pair (param i32 i64) (result f32 f64) unreachable) (func {body}))"
    )
}

/// The operand stack at each safepoint, copied as a whole.
fn copies(
    env: &ModuleEnv,
    body: &FunctionBody,
    validate: FuncToValidate<ValidatorResources>,
    safepoints: &Safepoints,
) -> Vec<Vec<ValType>> {
    let mut validator = validate.into_validator(FuncValidatorAllocations::default());
    let reader = body.reader();
    let mut bytes = reader.get_binary_reader();
    validator.read_locals(&mut bytes).unwrap();
    let mut operators = wasmparser::OperatorsReader::new(bytes);
    let mut stacks = std::collections::HashMap::from([(0, vec![])]);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().unwrap();
        let copy = |validator: &Validator, without: usize| -> Vec<ValType> {
            let height = validator.operand_stack_height() as usize;
            let ty = |i| validator.get_operand_type(height - 1 - i).flatten();
            let below = height.saturating_sub(without);
            let known = |ty| ValType::from_wasm(ty, |_| None);
            (0..below).map(|i| ty(i).and_then(known).unwrap_or(ValType::I32)).collect()
        };
        if let Operator::Call { function_index } = operator {
            let arguments = env.func_type(function_index).params.len();
            stacks.insert(offset as u32, copy(&validator, arguments));
        }
        validator.op(offset, &operator).unwrap();
        if matches!(operator, Operator::Loop { .. }) {
            stacks.insert(offset as u32, copy(&validator, 0));
        }
    }
    safepoints.points.iter().map(|safepoint| stacks[&safepoint.point].clone()).collect()
}

#[test]
fn the_stacks_of_a_body_together_grow_with_the_body_and_no_faster() {
    const CALLS: usize = 2_000;
    let body =
        format!("{}{}", "(i32.const 0) (call $void) ".repeat(CALLS), "(drop) ".repeat(CALLS));
    let text = module(&body);
    let engine = Engine::new(Config::new().tier(Tier::Interp)).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let (env, body) = (&module.state.code.env, module.state.code.current_body(LAST));
    let safepoints = Safepoints::new(env, &body, module.state.code.validation(LAST)).unwrap();
    assert_eq!(safepoints.points.len(), CALLS + 1);
    assert_eq!(safepoints.points[CALLS].operands.len(), CALLS);
    // One for each operator at most; copies would be two millions.
    let operands = safepoints.stacks.operands();
    assert!(operands <= 2 * CALLS, "{operands} operands");
}

/// A body that does something to the operand stack for each of these numbers.
fn body(steps: &[u8]) -> String {
    const TYPES: [&str; 4] = ["i32", "i64", "f32", "f64"];
    let mut text = String::new();
    let mut stack: Vec<&'static str> = Vec::new();
    // Of each loop that is open, the height below its parameter, and the parameter's type.
    let mut loops: Vec<(usize, &'static str)> = Vec::new();
    let close =
        |text: &mut String, stack: &mut Vec<&'static str>, (height, ty): (usize, &'static str)| {
            text.push_str(&"drop ".repeat(stack.len() - height));
            stack.truncate(height);
            stack.push(ty);
            write!(text, "{ty}.const 3 end ").unwrap();
        };
    for &step in steps {
        let ty = TYPES[usize::from(step >> 4) % 4];
        let floor = loops.last().map_or(0, |&(height, _)| height);
        let has_operand = stack.len() > floor;
        match step % 16 {
            0..=3 => {
                write!(text, "{ty}.const 1 ").unwrap();
                stack.push(ty);
            }
            4 | 5 if has_operand => {
                text.push_str("drop ");
                stack.pop();
            }
            6 | 7 => text.push_str("call $void "),
            8 => {
                text.push_str("i32.const 1 i64.const 2 call $pair ");
                stack.extend(["f32", "f64"]);
            }
            9 if has_operand => {
                let top = stack.pop().unwrap();
                write!(text, "block (param {top}) (result {ty}) drop {ty}.const 4 call $void end ")
                    .unwrap();
                stack.push(ty);
            }
            10 => {
                write!(text, "i32.const 0 if (result {ty}) call $void unreachable call $void ")
                    .unwrap();
                write!(text, "else {ty}.const 5 call $void end ").unwrap();
                stack.push(ty);
            }
            11 if has_operand && loops.len() < 8 => {
                let top = stack.pop().unwrap();
                write!(text, "loop (param {top}) (result {ty}) ").unwrap();
                loops.push((stack.len(), ty));
                stack.push(top);
            }
            12 => {
                if let Some(innermost) = loops.pop() {
                    close(&mut text, &mut stack, innermost);
                }
            }
            13 if has_operand => {
                let top = stack.last().unwrap();
                write!(text, "{top}.const 6 i32.const 1 select ").unwrap();
            }
            14 => {
                write!(
                    text,
                    "block (result {ty}) {ty}.const 7 i32.const 0 br_if 0 call $void end "
                )
                .unwrap();
                stack.push(ty);
            }
            15 if stack.last() == Some(&"i32") && has_operand => {
                text.push_str("i64.extend_i32_u call $void ");
                *stack.last_mut().unwrap() = "i64";
            }
            _ => {}
        }
    }
    while let Some(innermost) = loops.pop() {
        close(&mut text, &mut stack, innermost);
    }
    text + &"drop ".repeat(stack.len())
}

proptest! {
    #[test]
    fn shared_stacks_hold_what_copies_would(
        steps in proptest::collection::vec(any::<u8>(), 0..120),
        others in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (first, copies) = safepoints(&module(&body(&steps)));
        for (safepoint, copy) in first.points.iter().zip(&copies) {
            prop_assert_eq!(&first.operands(safepoint), copy, "at {:#x}", safepoint.point);
        }
        // Those of two bodies are equal if their types are.
        let (second, others) = safepoints(&module(&body(&others)));
        for (a, types) in first.points.iter().zip(&copies) {
            for (b, others) in second.points.iter().zip(&others) {
                prop_assert_eq!(a.operands == b.operands, types == others);
            }
        }
    }
}
