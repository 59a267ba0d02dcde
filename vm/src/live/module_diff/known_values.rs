//! Values of constant expressions that are the same in all instances.

use crate::module::ModuleState;
use crate::module::const_expr::{ConstExpr, ConstScope};

/// What is known of the globals of a valid module.
pub(super) struct KnownValues<'a> {
    module: &'a ModuleState,
    /// Slots of first values by index.
    globals: Vec<Option<[u64; 2]>>,
}

struct Scope<'a> {
    globals: &'a [Option<[u64; 2]>],
    known: bool,
}

impl ConstScope for Scope<'_> {
    fn global(&mut self, index: u32) -> [u64; 2] {
        let known = self.globals.get(index as usize).copied().flatten();
        self.known &= known.is_some();
        known.unwrap_or_default()
    }

    fn ref_func(&mut self, _: u32) -> u64 {
        self.known = false;
        0
    }
}

impl<'a> KnownValues<'a> {
    pub(super) fn new(module: &'a ModuleState) -> KnownValues<'a> {
        let mut globals = vec![None; module.env.imported_globals as usize];
        // Expressions refer only to globals before their own: each is evaluated once.
        for init in &module.globals {
            globals.push(evaluate(module, &globals, *init));
        }
        KnownValues { module, globals }
    }

    /// The first value of a global that is no vector.
    pub(super) fn global(&self, index: u32) -> Option<u64> {
        self.globals.get(index as usize).copied().flatten().map(|[value, _]| value)
    }

    /// The value of a constant expression of the module, which is no vector.
    pub(super) fn of(&self, expression: ConstExpr) -> Option<u64> {
        evaluate(self.module, &self.globals, expression).map(|[value, _]| value)
    }
}

fn evaluate(
    module: &ModuleState,
    globals: &[Option<[u64; 2]>],
    init: ConstExpr,
) -> Option<[u64; 2]> {
    let mut scope = Scope { globals, known: true };
    let value = init.slots(&*module.source, &mut scope);
    scope.known.then_some(value)
}
