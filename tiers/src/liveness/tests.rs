//! Known cases, and random bodies against an oracle that follows paths operator by operator.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

const LOCALS: u32 = 4;

/// Body bytes without declarations: all locals are parameters.
fn body(code: &[u8]) -> FunctionBody {
    let mut bytes = vec![0];
    bytes.extend(code);
    bytes.push(0x0b);
    FunctionBody::new(Arc::new(bytes.clone()), 0, bytes.len(), 0, 0)
}

fn live(liveness: &Liveness, point: u32) -> Option<Vec<u32>> {
    liveness.at(point).map(|set| set.iter().collect())
}

const UNREACHABLE: u8 = 0x00;
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const IF: [u8; 2] = [0x04, 0x40];
const ELSE: u8 = 0x05;
const END: u8 = 0x0b;
const RETURN: u8 = 0x0f;
/// Calls function 0, which takes and returns nothing.
const CALL: [u8; 2] = [0x10, 0];
const DROP: u8 = 0x1a;
const ZERO: [u8; 2] = [0x41, 0];

#[test]
fn sets_of_more_than_one_word() {
    let words = [1 << 3 | 1 << 63, 1];
    let set = LocalSet { words: &words };
    assert_eq!(set.iter().collect::<Vec<_>>(), [3, 63, 64]);
    assert!(set.contains(64) && !set.contains(65) && !set.contains(1000));
}

#[test]
fn a_local_is_dead_between_its_last_read_and_its_next_write() {
    // 1: call; 3: local.get 0; drop; 6: call; 8: i32.const; local.set 0; 12: call; local.get 0; drop
    let code =
        [&CALL[..], &[0x20, 0, DROP], &CALL, &ZERO, &[0x21, 0], &CALL, &[0x20, 0, DROP]].concat();
    let liveness = Liveness::new(&body(&code), LOCALS).unwrap();
    assert_eq!(live(&liveness, 0), Some(vec![0]));
    assert_eq!(live(&liveness, 1), Some(vec![0]));
    assert_eq!(live(&liveness, 6), Some(vec![]));
    assert_eq!(live(&liveness, 12), Some(vec![0]));
    assert_eq!((liveness.calls(), liveness.loops()), (3, 0));
}

#[test]
fn a_loop_keeps_alive_what_its_next_iteration_reads() {
    // 1: loop; 3: local.get 1; drop; 6: call; 8: i32.const; br_if 0; end
    let code = [&LOOP[..], &[0x20, 1, DROP], &CALL, &ZERO, &[0x0d, 0], &[END]].concat();
    let liveness = Liveness::new(&body(&code), LOCALS).unwrap();
    assert_eq!(live(&liveness, 1), Some(vec![1]));
    assert_eq!(live(&liveness, 6), Some(vec![1]));
}

#[test]
fn unreachable_code_has_no_safepoints() {
    let code = [&[UNREACHABLE][..], &CALL, &LOOP, &CALL, &[END]].concat();
    let liveness = Liveness::new(&body(&code), LOCALS).unwrap();
    assert_eq!(live(&liveness, 0), Some(vec![]));
    assert!([2, 4, 6].iter().all(|&point| live(&liveness, point).is_none()));
    assert_eq!((liveness.calls(), liveness.loops()), (0, 0));
}

/// A statement of a random body.
#[derive(Clone, Debug)]
enum Statement {
    Read(u32),
    Write(u32),
    Tee(u32),
    Call,
    Block(Vec<Statement>),
    Loop(Vec<Statement>),
    If(Vec<Statement>, Option<Vec<Statement>>),
    Branch(u32),
    BranchIf(u32),
    BranchTable(u32, u32, u32),
    Return,
    Unreachable,
}

fn statements() -> impl Strategy<Value = Vec<Statement>> {
    let local = 0..LOCALS;
    let leaf = prop_oneof![
        4 => local.clone().prop_map(Statement::Read),
        3 => local.clone().prop_map(Statement::Write),
        1 => local.prop_map(Statement::Tee),
        3 => Just(Statement::Call),
        1 => (0..6u32).prop_map(Statement::Branch),
        2 => (0..6u32).prop_map(Statement::BranchIf),
        1 => (0..6u32, 0..6u32, 0..6u32).prop_map(|(a, b, c)| Statement::BranchTable(a, b, c)),
        1 => Just(Statement::Return),
        1 => Just(Statement::Unreachable),
    ];
    let statement = leaf.prop_recursive(5, 60, 6, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            list().prop_map(Statement::Block),
            list().prop_map(Statement::Loop),
            (list(), prop::option::of(list())).prop_map(|(a, b)| Statement::If(a, b)),
        ]
    });
    prop::collection::vec(statement, 0..10)
}

/// Emits valid code inside `depth` constructs (the function's body not counted).
fn emit(statements: &[Statement], depth: u32, code: &mut Vec<u8>) {
    let label = |label: u32| (label % (depth + 1)) as u8;
    for statement in statements {
        match *statement {
            Statement::Read(local) => code.extend([0x20, local as u8, DROP]),
            Statement::Write(local) => {
                code.extend(ZERO);
                code.extend([0x21, local as u8]);
            }
            Statement::Tee(local) => {
                code.extend(ZERO);
                code.extend([0x22, local as u8, DROP]);
            }
            Statement::Call => code.extend(CALL),
            Statement::Block(ref inner) | Statement::Loop(ref inner) => {
                let is_loop = matches!(statement, Statement::Loop(_));
                code.extend(if is_loop { LOOP } else { BLOCK });
                emit(inner, depth + 1, code);
                code.push(END);
            }
            Statement::If(ref then, ref otherwise) => {
                code.extend(ZERO);
                code.extend(IF);
                emit(then, depth + 1, code);
                if let Some(otherwise) = otherwise {
                    code.push(ELSE);
                    emit(otherwise, depth + 1, code);
                }
                code.push(END);
            }
            Statement::Branch(to) => code.extend([0x0c, label(to)]),
            Statement::BranchIf(to) => {
                code.extend(ZERO);
                code.extend([0x0d, label(to)]);
            }
            Statement::BranchTable(a, b, c) => {
                code.extend(ZERO);
                code.extend([0x0e, 2, label(a), label(b), label(c)]);
            }
            Statement::Return => code.push(RETURN),
            Statement::Unreachable => code.push(UNREACHABLE),
        }
    }
}

/// What the oracle knows of an operator.
struct Node {
    point: u32,
    successors: Vec<usize>,
    reads: Option<u32>,
    writes: Option<u32>,
    is_safepoint: bool,
}

/// The operators of a body with the operators that may follow each.
fn nodes(body: &FunctionBody) -> Vec<Node> {
    let operators: Vec<(Operator<'_>, u64)> = {
        let mut reader = body.reader().get_operators_reader().unwrap();
        let mut all = Vec::new();
        while !reader.eof() {
            all.push(reader.read_with_offset().unwrap());
        }
        all
    };
    // The `else` and `end` of each construct, by the index of its operator.
    let mut ends = vec![0; operators.len()];
    let mut elses = vec![None; operators.len()];
    let mut open = Vec::new();
    for (index, (operator, _)) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                open.push(index);
            }
            Operator::Else => elses[*open.last().unwrap()] = Some(index),
            Operator::End => {
                if let Some(start) = open.pop() {
                    ends[start] = index;
                    if let Some(middle) = elses[start] {
                        ends[middle] = index;
                    }
                }
            }
            _ => {}
        }
    }
    let last = operators.len() - 1;
    let mut open: Vec<usize> = Vec::new();
    let mut nodes = Vec::new();
    for (index, (operator, offset)) in operators.iter().enumerate() {
        let target = |depth: u32| match open.len().checked_sub(1 + depth as usize) {
            None => last,
            Some(at) if matches!(operators[open[at]].0, Operator::Loop { .. }) => open[at],
            Some(at) => ends[open[at]],
        };
        let (mut reads, mut writes, mut is_safepoint) = (None, None, false);
        let successors = match *operator {
            Operator::Br { relative_depth } => vec![target(relative_depth)],
            Operator::BrIf { relative_depth } => vec![target(relative_depth), index + 1],
            Operator::BrTable { ref targets } => {
                let mut all: Vec<usize> = targets.targets().map(|t| target(t.unwrap())).collect();
                all.push(target(targets.default()));
                all
            }
            Operator::Return | Operator::Unreachable => vec![],
            Operator::If { .. } => {
                vec![index + 1, elses[index].map_or(ends[index], |middle| middle + 1)]
            }
            Operator::Else => vec![ends[index]],
            _ if index == last => vec![],
            _ => vec![index + 1],
        };
        match *operator {
            Operator::LocalGet { local_index } => reads = Some(local_index),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                writes = Some(local_index);
            }
            Operator::Call { .. } => is_safepoint = true,
            Operator::Loop { .. } => is_safepoint = true,
            _ => {}
        }
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                open.push(index);
            }
            Operator::End => {
                open.pop();
            }
            _ => {}
        }
        nodes.push(Node { point: *offset as u32, successors, reads, writes, is_safepoint });
    }
    nodes
}

/// Whether some path from these operators reads the local before it writes it.
fn is_read_from(nodes: &[Node], start: &[usize], local: u32) -> bool {
    let mut seen = vec![false; nodes.len()];
    let mut work = start.to_vec();
    while let Some(index) = work.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let node = &nodes[index];
        if node.reads == Some(local) {
            return true;
        }
        if node.writes != Some(local) {
            work.extend(&node.successors);
        }
    }
    false
}

fn reachable(nodes: &[Node]) -> Vec<bool> {
    let mut seen = vec![false; nodes.len()];
    let mut work = vec![0];
    while let Some(index) = work.pop() {
        if !std::mem::replace(&mut seen[index], true) {
            work.extend(&nodes[index].successors);
        }
    }
    seen
}

/// The graph of a `br_table` with this many entries, whose targets are the innermost `blocks` blocks in turn.
fn graph_of_a_table(entries: u32, blocks: u32) -> Graph {
    let leb = |mut value: u32, code: &mut Vec<u8>| {
        while value >= 0x80 {
            code.push(value as u8 | 0x80);
            value >>= 7;
        }
        code.push(value as u8);
    };
    let mut code = Vec::new();
    (0..blocks).for_each(|_| code.extend(BLOCK));
    code.extend(ZERO);
    code.push(0x0e);
    leb(entries, &mut code);
    (0..=entries).for_each(|entry| leb(entry % blocks, &mut code));
    (0..blocks).for_each(|_| code.push(END));
    let body = body(&code);
    let operators = body.reader().get_operators_reader().unwrap();
    Graph::new(operators, &CaughtLocals::default(), LOCALS).unwrap()
}

#[test]
fn a_branch_table_has_one_edge_to_each_target() {
    for (entries, blocks) in [(0, 1), (1000, 1), (1000, 7), (5, 7)] {
        let graph = graph_of_a_table(entries, blocks);
        let mut successors = graph.blocks[0].successors.to_vec();
        successors.sort_unstable();
        let distinct = (entries + 1).min(blocks) as usize;
        assert_eq!(successors.len(), distinct, "{entries} entries, {blocks} blocks");
        successors.dedup();
        assert_eq!(successors.len(), distinct, "{entries} entries, {blocks} blocks");
    }
}

/// Processor time of this thread.
fn processor_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes to the time.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Compares one duration with that of eight times the work, so it does not depend on the machine: 8 where the cost
/// grows with the size, 64 where it grows with the square.
#[test]
fn a_branch_table_with_many_targets_costs_in_proportion_to_its_size() {
    let fastest = |targets: u32| {
        let run = || {
            let start = processor_time();
            std::hint::black_box(graph_of_a_table(targets, targets));
            processor_time() - start
        };
        (0..7).map(|_| run()).min().unwrap()
    };
    let (small, large) = (fastest(20_000), fastest(160_000));
    assert!(large < 28 * small, "{small:?}, and {large:?} for eight times the size");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn agrees_with_following_all_paths(statements in statements()) {
        let mut code = Vec::new();
        emit(&statements, 0, &mut code);
        let body = body(&code);
        let liveness = Liveness::new(&body, LOCALS).unwrap();
        let nodes = nodes(&body);
        let expected = |start: &[usize]| -> Vec<u32> {
            (0..LOCALS).filter(|&local| is_read_from(&nodes, start, local)).collect()
        };
        prop_assert_eq!(live(&liveness, FunctionBody::ENTRY), Some(expected(&[0])));
        let reachable = reachable(&nodes);
        for (index, node) in nodes.iter().enumerate() {
            let found = live(&liveness, node.point);
            if node.is_safepoint && reachable[index] {
                prop_assert_eq!(found, Some(expected(&node.successors)), "at {}", node.point);
            } else {
                prop_assert_eq!(found, None, "at {}", node.point);
            }
        }
    }
}
