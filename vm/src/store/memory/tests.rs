use crate::*;

fn engine() -> Engine {
    Engine::new(Config::new().tier(Tier::Interp)).unwrap()
}

#[test]
fn a_memory_grows_to_its_maximum_and_keeps_its_contents() {
    let mut store = Store::new(&engine(), ());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(3))).unwrap();
    memory.data_mut(&mut store)[65535] = 7;
    let address = memory.data_ptr(&store);
    assert_eq!(memory.grow(&mut store, 2).unwrap(), 1);
    assert_eq!(memory.data_ptr(&store), address);
    assert_eq!(memory.data(&store)[65535..65537], [7, 0]);
    assert_eq!(memory.data_size(&store), 3 << 16);
    assert!(memory.grow(&mut store, 1).is_err());
    assert_eq!(memory.grow(&mut store, 0).unwrap(), 3);
    assert_eq!(memory.ty(&store), MemoryType::new(3, Some(3)));
}

#[test]
fn reads_and_writes_beyond_the_end_fail() {
    let mut store = Store::new(&engine(), ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let mut buffer = [1; 4];
    memory.write(&mut store, 65532, &buffer).unwrap();
    assert!(memory.write(&mut store, 65533, &buffer).is_err());
    assert!(memory.read(&store, 65533, &mut buffer).is_err());
    assert!(memory.read(&store, usize::MAX, &mut buffer).is_err());
    memory.read(&store, 65530, &mut buffer).unwrap();
    assert_eq!(buffer, [0, 0, 1, 1]);
}

#[test]
fn guests_and_hosts_are_held_to_the_limit() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimits::new().memory_bytes(4 << 16).table_elements(10));
    let module = Module::new(
        &engine,
        r#"(module
            (memory 2)
            (table 4 funcref)
            (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "table") (param i32) (result i32)
                (table.grow (ref.null func) (local.get 0))))"#,
    )
    .unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_typed_func::<i32, i32>(&mut store, "memory").unwrap();
    assert_eq!(memory.call(&mut store, 1).unwrap(), 2);
    assert_eq!(memory.call(&mut store, 2).unwrap(), -1);
    assert_eq!(memory.call(&mut store, 1).unwrap(), 3);
    assert_eq!(memory.call(&mut store, -1).unwrap(), -1);
    let table = instance.get_typed_func::<i32, i32>(&mut store, "table").unwrap();
    assert_eq!(table.call(&mut store, 6).unwrap(), 4);
    assert_eq!(table.call(&mut store, 1).unwrap(), -1);
    // The limit is for all memories together.
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert!(error.to_string().contains("exceeds the store's limit"), "{error}");
}

#[test]
fn dropped_stores_give_their_address_space_back() {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module (memory 1) (func (export "f") (i32.store (i32.const 0) (i32.const 1))))"#,
    )
    .unwrap();
    // 20,000 reservations of 8 GiB do not fit into the address space of a process.
    for _ in 0..20_000 {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        instance.get_typed_func::<(), ()>(&mut store, "f").unwrap().call(&mut store, ()).unwrap();
    }
}

#[test]
fn several_memories() {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module
            (memory $a 1) (memory $b 2)
            (data $d (memory $b) (i32.const 10) "\05\06")
            (func (export "run") (result i32)
                (memory.copy $a $b (i32.const 0) (i32.const 10) (i32.const 2))
                (i32.add
                    (i32.load16_u $a (i32.const 0))
                    (i32.add (memory.size $a) (memory.size $b)))))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 0x605 + 3);
}
