//! Behaviour of the interpreter, seen from a caller.

use super::harness::Instance;
use crate::trap::TrapCode;

fn i32s(values: &[i32]) -> Vec<u64> {
    values.iter().map(|&v| u64::from(v as u32)).collect()
}

/// Calls the export `f` of a module.
fn run(wat: &str, args: &[i32]) -> Result<Vec<i32>, TrapCode> {
    let results = Instance::new(wat).call("f", &i32s(args))?;
    Ok(results.iter().map(|&v| v as u32 as i32).collect())
}

#[test]
fn a_function_adds_its_parameters() {
    let wat = r#"(func (export "f") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1)))"#;
    assert_eq!(run(wat, &[2, 40]), Ok(vec![42]));
}

#[test]
fn recursion() {
    let wat = r#"(func $fib (export "f") (param i32) (result i32)
        (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
          (then (local.get 0))
          (else (i32.add
            (call $fib (i32.sub (local.get 0) (i32.const 1)))
            (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"#;
    assert_eq!(run(wat, &[20]), Ok(vec![6765]));
}

#[test]
fn setting_a_local_does_not_change_operands_that_were_read_from_it() {
    let wat = r#"(func (export "f") (param i32 i32) (result i32 i32 i32)
        local.get 0
        local.get 0
        local.get 0
        i32.const 1
        i32.add
        local.set 0
        i32.const 10
        i32.mul
        local.get 0)"#;
    assert_eq!(run(wat, &[7, 0]), Ok(vec![7, 70, 8]));
}

#[test]
fn teeing_a_local_does_not_change_operands_that_were_read_from_it() {
    let wat = r#"(func (export "f") (param i32 i32) (result i32)
        local.get 0
        local.get 1
        local.tee 0
        i32.const 5
        local.tee 1
        i32.add
        i32.add
        local.get 0
        i32.add
        local.get 1
        i32.add)"#;
    assert_eq!(run(wat, &[100, 20]), Ok(vec![100 + 20 + 5 + 20 + 5]));
}

#[test]
fn a_local_set_in_a_block_does_not_change_operands_below_the_block() {
    let wat = r#"(func (export "f") (param i32 i32) (result i32)
        local.get 0
        block
          local.get 1
          br_if 0
          i32.const 1000
          local.set 0
        end
        local.get 0
        i32.add)"#;
    assert_eq!(run(wat, &[7, 0]), Ok(vec![1007]));
    assert_eq!(run(wat, &[7, 1]), Ok(vec![14]));
}

#[test]
fn branch_tables_take_values_to_different_depths() {
    let wat = r#"(func (export "f") (param i32) (result i32)
        (block $a (result i32)
          (i32.const 100)
          (block $b (result i32)
            (i32.const 1000)
            (block $c (result i32)
              (i32.const 7)
              (br_table $c $b $a 3 (local.get 0)))
            (i32.add) (i32.const 1) (i32.add))
          (i32.add)
          (i32.const 2) (i32.add)))"#;
    assert_eq!(run(wat, &[0]), Ok(vec![1110]));
    assert_eq!(run(wat, &[1]), Ok(vec![109]));
    assert_eq!(run(wat, &[2]), Ok(vec![7]));
    assert_eq!(run(wat, &[3]), Ok(vec![7]));
    assert_eq!(run(wat, &[-1]), Ok(vec![7]));
}

#[test]
fn loops_take_parameters() {
    // (a, b) -> (b, a + b) n times.
    let wat = r#"(func (export "f") (param $n i32) (result i32 i32)
        (local $a i32)
        i32.const 0
        i32.const 1
        (loop $l (param i32 i32) (result i32 i32)
          local.tee $a
          i32.add
          local.get $a
          local.set $a
          local.get $a
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $l (local.get $n))))"#;
    assert_eq!(run(wat, &[1]), Ok(vec![1, 1]));
    assert_eq!(run(wat, &[4]), Ok(vec![4, 1]));
}

#[test]
fn loop_parameters_can_be_swapped() {
    let wat = r#"(func (export "f") (param $n i32) (result i32 i32) (local $a i32) (local $b i32)
        i32.const 3
        i32.const 4
        (loop $l (param i32 i32) (result i32 i32)
          local.set $a
          local.set $b
          local.get $a
          local.get $b
          (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
          br_if $l))"#;
    assert_eq!(run(wat, &[1]), Ok(vec![4, 3]));
    assert_eq!(run(wat, &[2]), Ok(vec![3, 4]));
}

#[test]
fn many_results_come_back_in_order() {
    let wat = r#"
        (func $swap (param i32 i32) (result i32 i32) local.get 1 local.get 0)
        (func $five (result i32 i32 i32 i32 i32)
          i32.const 1 i32.const 2 i32.const 3 i32.const 4 i32.const 5)
        (func (export "f") (param i32 i32) (result i32 i32 i32 i32 i32 i32 i32)
          local.get 0 local.get 1 call $swap call $five)"#;
    assert_eq!(run(wat, &[8, 9]), Ok(vec![9, 8, 1, 2, 3, 4, 5]));
}

#[test]
fn early_returns_leave_nothing_behind() {
    let wat = r#"(func (export "f") (param i32) (result i32)
        i32.const 1
        i32.const 2
        (if (param i32) (result i32) (local.get 0)
          (then return)
          (else (br_if 1 (i32.const 77) (i32.eqz (local.get 0))) i32.add))
        i32.add)"#;
    assert_eq!(run(wat, &[1]), Ok(vec![2]));
    assert_eq!(run(wat, &[0]), Ok(vec![77]));
}

#[test]
fn unreachable_code_is_skipped() {
    let wat = r#"(func (export "f") (param i32) (result i32)
        (block (result i32)
          (br 0 (i32.const 3))
          (if (then (nop)) (else (unreachable)))
          (loop (br 0))
          i32.add
          drop
          (select (i32.const 1) (i32.const 2))
          )
        (block (br 0) (drop)))"#;
    assert_eq!(run(wat, &[1]), Ok(vec![3]));
}

#[test]
fn locals_start_at_zero() {
    let wat = r#"
        (func $dirty (param i32) (result i32) (local i32 i32 i32)
          (local.set 1 (i32.const 77)) (local.set 2 (i32.const 78)) (local.set 3 (i32.const 79))
          local.get 0)
        (func $clean (result i32) (local i32 i32 i32 i32)
          (i32.add (i32.add (local.get 0) (local.get 1)) (i32.add (local.get 2) (local.get 3))))
        (func (export "f") (result i32)
          (drop (call $dirty (i32.const 5)))
          (call $clean))"#;
    assert_eq!(run(wat, &[]), Ok(vec![0]));
}

#[test]
fn endless_recursion_overflows_and_the_store_can_be_used_afterwards() {
    let mut instance = Instance::new(
        r#"(func $f (export "f") (param i32) (result i32)
             (if (result i32) (local.get 0)
               (then (i32.add (i32.const 1) (call $f (local.get 0))))
               (else (i32.const 5))))"#,
    );
    for _ in 0..3 {
        assert_eq!(instance.call("f", &[1]), Err(TrapCode::StackOverflow));
        assert!(instance.store.activation.is_null());
        assert_eq!(instance.call("f", &[0]), Ok(vec![5]));
    }
    assert!(instance.backtrace.len() > 1000);
}

#[test]
fn traps_tell_where_they_happened() {
    let mut instance = Instance::new(
        r#"(memory 1)
           (func $g (param i32) (result i32)
             nop
             (i32.load (local.get 0)))
           (func (export "f") (param i32) (result i32)
             (call $g (local.get 0)))"#,
    );
    assert_eq!(instance.call("f", &[0xffff]), Err(TrapCode::MemoryOutOfBounds));
    // Offsets in the bodies: of the load behind `00 01 20 00`, of the call behind `00 20 00`.
    assert_eq!(instance.backtrace, [(0, 4), (1, 3)]);
    assert_eq!(instance.call("f", &[0xfffc]), Ok(vec![0]));
}

#[test]
fn divisions_trap() {
    let wat = r#"(func (export "f") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1)))"#;
    assert_eq!(run(wat, &[7, -2]), Ok(vec![-3]));
    assert_eq!(run(wat, &[7, 0]), Err(TrapCode::IntegerDivisionByZero));
    assert_eq!(run(wat, &[i32::MIN, -1]), Err(TrapCode::IntegerOverflow));
    let wat = r#"(func (export "f") (param i32) (result i32)
        (i32.rem_s (local.get 0) (i32.const -1)))"#;
    assert_eq!(run(wat, &[i32::MIN]), Ok(vec![0]));
}

#[test]
fn memory_grows_and_is_accessible_at_once() {
    let wat = r#"(memory 1 3)
        (func (export "f") (param i32) (result i32 i32)
          (memory.grow (i32.const 1))
          (i32.store offset=65536 (local.get 0) (i32.const -9))
          (i32.load offset=65536 (local.get 0)))"#;
    assert_eq!(run(wat, &[8]), Ok(vec![1, -9]));
    assert_eq!(run(wat, &[65533]), Err(TrapCode::MemoryOutOfBounds));
}

#[test]
fn addresses_do_not_wrap() {
    let wat = r#"(memory 1)
        (func (export "f") (param i32) (result i32)
          (i32.load offset=0xffffffff (local.get 0)))"#;
    assert_eq!(run(wat, &[1]), Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(run(wat, &[-1]), Err(TrapCode::MemoryOutOfBounds));
}

#[test]
fn other_memories_are_apart() {
    let wat = r#"(memory 1) (memory $m 1)
        (func (export "f") (param i32) (result i32 i32)
          (i32.store (local.get 0) (i32.const 5))
          (i32.store $m (local.get 0) (i32.const 6))
          (i32.load (local.get 0))
          (i32.load $m (local.get 0)))"#;
    assert_eq!(run(wat, &[16]), Ok(vec![5, 6]));
}

#[test]
fn indirect_calls_check_the_table() {
    let wat = r#"
        (type $t (func (param i32) (result i32)))
        (table 4 funcref)
        (elem (i32.const 0) $double $other)
        (func $double (type $t) (i32.mul (local.get 0) (i32.const 2)))
        (func $other (result i32) (i32.const 0))
        (func (export "f") (param i32) (result i32)
          (call_indirect (type $t) (i32.const 21) (local.get 0)))"#;
    assert_eq!(run(wat, &[0]), Ok(vec![42]));
    assert_eq!(run(wat, &[1]), Err(TrapCode::BadSignature));
    assert_eq!(run(wat, &[2]), Err(TrapCode::IndirectCallToNull));
    assert_eq!(run(wat, &[4]), Err(TrapCode::TableOutOfBounds));
}

#[test]
fn fuel_is_charged_before_a_segment() {
    let mut instance = Instance::with(
        r#"(func (export "f") (param i32) (result i32)
             (loop $l
               (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
               (br_if $l (local.get 0)))
             (local.get 0))"#,
        |env| env.consume_fuel = true,
    );
    instance.store.fuel = 100;
    assert_eq!(instance.call("f", &[3]), Ok(vec![0]));
    // Three iterations of six operators, and one behind the loop.
    assert_eq!(instance.store.fuel, 100 - 3 * 6 - 1);
    instance.store.fuel = 17;
    assert_eq!(instance.call("f", &[3]), Err(TrapCode::OutOfFuel));
    assert_eq!(instance.store.fuel, 5);
}

#[test]
fn elements_of_arrays() {
    let wat = r#"(memory 1)
        (func (export "f") (param $base i32) (param $i i32) (result i32 i32 i32 i32)
          (i32.store offset=4
            (i32.add (local.get $base) (i32.shl (local.get $i) (i32.const 2))) (local.get $i))
          (i64.store offset=2 (i32.add (local.get $base) (local.get $i))
            (i64.extend_i32_u (local.get $base)))
          (i32.load offset=4 (i32.add (i32.shl (local.get $i) (i32.const 2)) (local.get $base)))
          (i32.load16_u offset=2 (i32.add (local.get $i) (local.get $base)))
          (i32.and (i32.shr_u (local.get $base) (i32.const 35)) (i32.const 0xf))
          (i32.add (local.get $base) (i32.mul (local.get $i) (i32.const -3))))"#;
    assert_eq!(run(wat, &[100, 7]), Ok(vec![7, 100, 12, 79]));
    // The sum wraps, the offset does not.
    assert_eq!(run(wat, &[-20, 7]), Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(run(wat, &[-24, 7]), Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(run(wat, &[-28, 28]).map(|results| results[..2].to_vec()), Ok(vec![28, 0xffe4]));
}

#[test]
fn dispatch_does_not_use_the_native_stack() {
    let wat = r#"(func $g (param i32) (result i32) (local.get 0))
        (func (export "f") (param i32) (result i32)
          (loop $l
            (br_if $l (local.tee 0 (i32.sub (call $g (local.get 0)) (i32.const 1)))))
          (local.get 0))"#;
    let thread = std::thread::Builder::new().stack_size(1 << 18);
    let outcome = thread.spawn(|| run(wat, &[1_000_000])).unwrap().join();
    assert_eq!(outcome.unwrap(), Ok(vec![0]));
}
