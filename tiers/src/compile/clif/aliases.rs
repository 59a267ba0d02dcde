//! Which values aliases stand for.
//!
//! A variable that a loop does not change is a parameter of the loop's header until all ways back to it are known, and
//! then an alias of what it is before the loop: in nested loops an alias of an alias, and so on. To walk such a chain
//! anew for each value of each frame would cost the square of the nesting.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::entity::packed_option::PackedOption;
use cranelift_codegen::ir::{Function, Value};

/// Resolves aliases of a function whose aliases do not change any more; follows each once.
#[derive(Default)]
pub(super) struct Aliases {
    /// What each alias stands for, if anybody has asked.
    known: SecondaryMap<Value, PackedOption<Value>>,
    /// The aliases on the way.
    chain: Vec<Value>,
}

#[cfg(test)]
thread_local! {
    /// How many aliases this thread has followed.
    pub(super) static FOLLOWED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Aliases {
    /// The value itself, or what it is an alias of.
    pub(super) fn resolve(&mut self, func: &Function, value: Value) -> Value {
        let mut at = value;
        // Serialisation is what the function below is meant for; nothing else follows a single alias.
        while let Some(next) = func.dfg.value_alias_dest_for_serialization(at) {
            if let Some(known) = self.known[at].expand() {
                at = known;
                break;
            }
            self.chain.push(at);
            at = next;
        }
        #[cfg(test)]
        FOLLOWED.set(FOLLOWED.get() + self.chain.len());
        for alias in self.chain.drain(..) {
            self.known[alias] = at.into();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::FunctionBody;
    use crate::compile::{CompileOptions, Compiler, EntryPoint};
    use crate::module_env::ModuleEnv;
    use crate::types::{FuncType, ValType};
    use std::sync::Arc;

    #[test]
    fn the_variables_of_nested_loops_are_followed_once() {
        const LOOPS: usize = 1000;
        let mut code = vec![0];
        code.extend([0x03, 0x40].repeat(LOOPS));
        code.extend([0x0b].repeat(LOOPS));
        code.extend([0x20, 0, 0x0b]);
        let mut env = ModuleEnv::default();
        env.types.push(FuncType::new([ValType::I32], [ValType::I32]));
        env.functions.push(0);
        let len = code.len();
        let body = FunctionBody::new(Arc::new(code), 0, len, 0, 0);
        let compiler = Compiler::new().unwrap();
        let options = CompileOptions::default();
        let before = FOLLOWED.get();
        compiler.compile(&env, &body, EntryPoint::Function, &options).unwrap();
        let followed = FOLLOWED.get() - before;
        // The parameter has an alias in each loop; half a million steps if each were resolved for itself.
        assert!((LOOPS..4 * LOOPS).contains(&followed), "{followed} aliases followed");
    }
}
