//! The host module `spectest`, which scripts import from.

use midair::{
    Error, FuncType, Global, GlobalType, Linker, Memory, MemoryType, SharedMemory, Store, Table,
    TableType, Val, ValType,
};

/// Defines the module. Its `print` functions are silent.
pub fn define(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<(), Error> {
    const MODULE: &str = "spectest";
    use ValType::{F32, F64, I32, I64};
    for (name, parameters) in [
        ("print", &[][..]),
        ("print_i32", &[I32]),
        ("print_i64", &[I64]),
        ("print_f32", &[F32]),
        ("print_f64", &[F64]),
        ("print_i32_f32", &[I32, F32]),
        ("print_f64_f64", &[F64, F64]),
    ] {
        let ty = FuncType::new(parameters.iter().copied(), []);
        linker.func_new(MODULE, name, ty, |_, _, _| Ok(()))?;
    }
    for (name, value) in [
        ("global_i32", Val::I32(666)),
        ("global_i64", Val::I64(666)),
        ("global_f32", Val::from(666.6_f32)),
        ("global_f64", Val::from(666.6_f64)),
    ] {
        let ty = GlobalType::new(value.ty(), false);
        let global = Global::new(&mut *store, ty, value)?;
        linker.define(&mut *store, MODULE, name, global)?;
    }
    let table = TableType::new(ValType::FUNCREF, 10, Some(20));
    let table = Table::new(&mut *store, table, Val::FuncRef(None))?;
    linker.define(&mut *store, MODULE, "table", table)?;
    let memory = MemoryType::new(1, Some(2));
    let memory = Memory::new(&mut *store, memory)?;
    linker.define(&mut *store, MODULE, "memory", memory)?;
    let memory = SharedMemory::new(store.engine(), MemoryType::shared(1, 2))?;
    linker.define(&mut *store, MODULE, "shared_memory", memory)?;
    Ok(())
}
