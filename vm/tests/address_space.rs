//! What happens when the address space is full. In a process of its own, for that hits everybody.

use midair::{Engine, Memory, MemoryType, Store};

#[test]
fn running_out_of_address_space_is_an_error() {
    let mut store = Store::new(&Engine::default(), ());
    let mut count = 0;
    let error = loop {
        match Memory::new(&mut store, MemoryType::new(1, None)) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 100_000, "there is no end to address space");
    };
    assert!(count > 100);
    let text = format!("{error:#}");
    assert!(text.contains("cannot reserve the address range of a linear memory"), "{text}");
}
