//! Random modules whose types, functions and globals are put into another order: nothing has changed.

use super::Running;
use crate::live::module_diff::initial_data::DataPolicy;
use proptest::prelude::*;
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, Instruction, Module, NameMap, NameSection, RefType,
    TableSection, TableType, TypeSection, ValType,
};

/// A module whose items refer to each other by position in these lists, not by index.
#[derive(Clone, Debug)]
struct Program {
    /// Type, and whether it is named and exported.
    functions: Vec<(usize, Visibility, Vec<Step>)>,
    /// First value, and whether it is mutable.
    globals: Vec<(i32, bool)>,
    table: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    Unnamed,
    Named,
    Exported,
}

/// What a function does; each step leaves the operand stack as it was.
#[derive(Clone, Debug)]
enum Step {
    Const(i32),
    Call(usize),
    CallIndirect(usize, i32),
    Get(usize),
    Set(usize, i32),
    Function(usize),
    Block(Vec<Step>),
}

/// Parameters and results, of `i32`.
const TYPES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 1), (2, 1)];

fn steps(functions: usize, globals: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4i32).prop_map(Step::Const),
        4 => (0..functions).prop_map(Step::Call),
        1 => ((0..TYPES.len()), 0..4i32).prop_map(|(ty, at)| Step::CallIndirect(ty, at)),
        2 => (0..globals).prop_map(Step::Get),
        1 => ((0..globals), 0..3i32).prop_map(|(global, value)| Step::Set(global, value)),
        1 => (0..functions).prop_map(Step::Function),
    ];
    let step = step
        .prop_recursive(2, 8, 3, |step| prop::collection::vec(step, 0..3).prop_map(Step::Block));
    prop::collection::vec(step, 0..5)
}

fn program() -> impl Strategy<Value = Program> {
    (1..12usize, 1..6usize).prop_flat_map(|(functions, globals)| {
        let visibility = prop_oneof![
            4 => Just(Visibility::Unnamed),
            1 => Just(Visibility::Named),
            1 => Just(Visibility::Exported)
        ];
        let function = (0..TYPES.len(), visibility, steps(functions, globals));
        (
            prop::collection::vec(function, functions),
            prop::collection::vec((0..3i32, any::<bool>()), globals),
            prop::collection::vec(0..functions, 0..5),
        )
            .prop_map(|(functions, globals, table)| Program { functions, globals, table })
    })
}

/// Where the items of each list go: `order[i]` is the index of item `i`.
#[derive(Clone, Debug)]
struct Order {
    types: Vec<usize>,
    functions: Vec<usize>,
    globals: Vec<usize>,
}

fn permutation(count: usize) -> impl Strategy<Value = Vec<usize>> {
    Just((0..count).collect::<Vec<_>>()).prop_shuffle()
}

fn program_and_order() -> impl Strategy<Value = (Program, Order)> {
    program().prop_flat_map(|program| {
        let orders = (
            permutation(TYPES.len()),
            permutation(program.functions.len()),
            permutation(program.globals.len()),
        );
        (Just(program), orders).prop_map(|(program, (types, functions, globals))| {
            (program, Order { types, functions, globals })
        })
    })
}

/// The items of a list in the order of their indices.
fn ordered<'a, T>(items: &'a [T], order: &[usize]) -> Vec<(usize, &'a T)> {
    let mut items: Vec<_> = items.iter().enumerate().collect();
    items.sort_by_key(|(i, _)| order[*i]);
    items
}

impl Program {
    fn named(mut self) -> Program {
        for (_, visibility, _) in &mut self.functions {
            if *visibility == Visibility::Unnamed {
                *visibility = Visibility::Named;
            }
        }
        self
    }

    fn in_order(&self) -> Order {
        Order {
            types: (0..TYPES.len()).collect(),
            functions: (0..self.functions.len()).collect(),
            globals: (0..self.globals.len()).collect(),
        }
    }

    fn step(&self, step: &Step, order: &Order, body: &mut Function) {
        let arguments = |body: &mut Function, ty: usize| {
            for _ in 0..TYPES[ty].0 {
                body.instruction(&Instruction::I32Const(9));
            }
        };
        let drop = |body: &mut Function, count: usize| {
            for _ in 0..count {
                body.instruction(&Instruction::Drop);
            }
        };
        match step {
            Step::Const(value) => {
                body.instruction(&Instruction::I32Const(*value));
                drop(body, 1);
            }
            Step::Call(function) => {
                let ty = self.functions[*function].0;
                arguments(body, ty);
                body.instruction(&Instruction::Call(order.functions[*function] as u32));
                drop(body, TYPES[ty].1);
            }
            Step::CallIndirect(ty, at) => {
                arguments(body, *ty);
                body.instruction(&Instruction::I32Const(*at));
                let type_index = order.types[*ty] as u32;
                body.instruction(&Instruction::CallIndirect { type_index, table_index: 0 });
                drop(body, TYPES[*ty].1);
            }
            Step::Get(global) => {
                body.instruction(&Instruction::GlobalGet(order.globals[*global] as u32));
                drop(body, 1);
            }
            Step::Set(global, value) => {
                if self.globals[*global].1 {
                    body.instruction(&Instruction::I32Const(*value));
                    body.instruction(&Instruction::GlobalSet(order.globals[*global] as u32));
                }
            }
            Step::Function(function) => {
                body.instruction(&Instruction::RefFunc(order.functions[*function] as u32));
                drop(body, 1);
            }
            Step::Block(steps) => {
                body.instruction(&Instruction::Block(wasm_encoder::BlockType::Empty));
                steps.iter().for_each(|step| self.step(step, order, body));
                body.instruction(&Instruction::End);
            }
        }
    }

    fn encode(&self, order: &Order) -> Vec<u8> {
        let mut types = TypeSection::new();
        for (_, (params, results)) in ordered(&TYPES, &order.types) {
            types.ty().function(vec![ValType::I32; *params], vec![ValType::I32; *results]);
        }
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        let (mut exports, mut names) = (ExportSection::new(), NameMap::new());
        for (i, (ty, visibility, steps)) in ordered(&self.functions, &order.functions) {
            let index = functions.len();
            functions.function(order.types[*ty] as u32);
            let mut body = Function::new([]);
            steps.iter().for_each(|step| self.step(step, order, &mut body));
            for _ in 0..TYPES[*ty].1 {
                body.instruction(&Instruction::I32Const(1));
            }
            body.instruction(&Instruction::End);
            code.function(&body);
            match visibility {
                Visibility::Unnamed => {}
                Visibility::Named => names.append(index, &format!("named {i}")),
                Visibility::Exported => {
                    exports.export(&format!("exported {i}"), ExportKind::Func, index);
                }
            }
        }
        let mut globals = GlobalSection::new();
        for (_, (value, mutable)) in ordered(&self.globals, &order.globals) {
            let ty = GlobalType { val_type: ValType::I32, mutable: *mutable, shared: false };
            globals.global(ty, &ConstExpr::i32_const(*value));
        }
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 5,
            maximum: None,
            shared: false,
        });
        let mut elements = ElementSection::new();
        let table: Vec<u32> = self.table.iter().map(|i| order.functions[*i] as u32).collect();
        elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(table.into()));
        let all: Vec<u32> = (0..functions.len()).collect();
        elements.declared(Elements::Functions(all.into()));
        let mut name_section = NameSection::new();
        name_section.functions(&names);
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&tables).section(&globals);
        module.section(&exports).section(&elements).section(&code).section(&name_section);
        module.finish()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn another_order_is_no_change((program, order) in program_and_order()) {
        let running = Running::new(program.encode(&program.in_order()));
        running.assert_unchanged(program.encode(&order));
    }

    /// Whatever is edited, the running module can be brought up to it, and is then the same.
    #[test]
    fn an_edit_is_applied_once((before, _) in program_and_order(), (after, order) in program_and_order()) {
        let mut running = Running::new(before.encode(&before.in_order()));
        let diff = running.diff_with(after.encode(&after.in_order()), DataPolicy::Apply).unwrap();
        running.apply(diff);
        let again = running.diff(after.encode(&after.in_order())).unwrap();
        prop_assert_eq!(again.summary().to_string(), "nothing changed");
        running.apply(again);
        let permuted = running.diff(after.encode(&order)).unwrap();
        prop_assert_eq!(permuted.functions.len(), 0);
    }

    /// Going back and forth adds each named function once.
    #[test]
    fn named_functions_are_found_again((before, _) in program_and_order(), (after, _) in program_and_order()) {
        let programs = [before, after].map(Program::named);
        let mut running = Running::new(programs[0].encode(&programs[0].in_order()));
        let mut there_and_back = || {
            for program in [&programs[1], &programs[0]] {
                let source = program.encode(&program.in_order());
                let diff = running.diff_with(source, DataPolicy::Apply).unwrap();
                running.apply(diff);
            }
            running.live.functions.len()
        };
        let count = there_and_back();
        prop_assert_eq!(there_and_back(), count);
    }
}
