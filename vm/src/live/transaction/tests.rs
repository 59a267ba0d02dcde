//! What happens to stores in the middle of an update.

use crate::every_tier::every_tier;
use crate::live::module_diff::initial_data::DataPolicy;
use crate::*;
use midair_osr::handshake::State;
use midair_watchdog::Watchdog;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    /// What this thread's next update does in the middle of its change: see [`amid_change`].
    static AMID_CHANGE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Called when the stores to be served are listed and know that something is requested, and nothing has changed.
pub(super) fn amid_change() {
    if let Some(hook) = AMID_CHANGE.take() {
        hook();
    }
}

/// What the next update of this thread does then.
fn set_amid_change(hook: impl FnOnce() + 'static) {
    AMID_CHANGE.set(Some(Box::new(hook)));
}

/// An instance that is made between the listing and the change has old code that is not taken from it before it is
/// freed.
#[test]
fn no_instance_is_made_while_several_functions_change() {
    let _watchdog = Watchdog::start();
    let text = |result: i32| {
        format!(
            r#"(module (func (export "f") (result i32) (i32.const {result}))
                (func (export "g") (result i32) (i32.const {result})))"#
        )
    };
    let engine = Engine::default();
    let module = Module::new(&engine, text(1)).unwrap();
    let barred = Rc::new(Cell::new(false));
    let (changing, is_barred) = (module.clone(), barred.clone());
    set_amid_change(move || is_barred.set(changing.state.code.is_instantiation_barred()));
    let edited = Module::new(&engine, text(2)).unwrap();
    let update = ["f", "g"].iter().fold(module.update(), |update, name| {
        let function = module.function_index(name).unwrap();
        update.body(function, edited.function_body(name).unwrap())
    });
    update.apply().unwrap();
    assert!(barred.get());
    assert!(!module.state.code.is_instantiation_barred());
}

/// The guest comes in when its store is about to get new data, and leaves without having polled.
#[test]
fn a_guest_that_comes_in_meanwhile_finds_new_data() {
    let _watchdog = Watchdog::start();
    let text = |byte: u8| {
        format!(
            r#"(module (memory 1) (data (i32.const 0) "\{byte:02}")
                (func (export "read") (result i32) (i32.load8_u (i32.const 0))))"#
        )
    };
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, text(1)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let read = instance.get_typed_func::<(), i32>(&mut store, "read").unwrap();
        for _ in 0..10 {
            assert_eq!(read.call(&mut store, ()).unwrap(), 1);
        }
        let guest = Rc::new(RefCell::new(None));
        let (handle, changing) = (guest.clone(), module.clone());
        set_amid_change(move || {
            let guest = std::thread::spawn(move || read.call(&mut store, ()).unwrap());
            *handle.borrow_mut() = Some(guest);
            // Then it has seen that something is requested, or will; and it cannot have been served.
            while changing.state.code.stores()[0].state() != State::Managed {
                std::thread::yield_now();
            }
        });
        let update = module.update().module(text(2)).unwrap().data(DataPolicy::Apply);
        update.apply().unwrap();
        assert_eq!(guest.take().expect("the hook has run").join().unwrap(), 2);
    });
}
