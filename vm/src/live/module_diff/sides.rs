//! What is known of the items of the running module and of the new one: what matching goes by.

use super::matching::{FunctionFacts, GlobalFacts, Side};
use super::renumber::renumber_expression;
use super::skeleton::{Skeleton, Spaces};
use super::tables_and_memories::imports_by_index;
use super::{Diff, function_index, global_index, initial_value, table_slots};
use crate::module::ModuleState;
use std::collections::HashMap;

impl<'a> Diff<'a> {
    pub(super) fn live_side(&self, spaces: Spaces) -> Side<'a> {
        let (live, old, old_maps) = (self.live, self.old, self.old_maps);
        // Names are those of the source that has it, or was the last to have it.
        let mut present = vec![false; live.functions.len()];
        let mut names: Vec<Option<&str>> =
            live.function_names.iter().map(Option::as_deref).collect();
        for (function, name) in &live.provenance.older.functions {
            names[*function as usize] = Some(name);
        }
        let exported = loaded_names(old);
        for (i, &function) in (0..).zip(&old_maps.functions) {
            present[function as usize] = true;
            names[function as usize] = old.function_name(i).or_else(|| exported.get(&i).copied());
        }
        let imports = imports_by_index(&live.loaded.imports, function_index);
        let functions = (0..live.functions.len() as u32).map(|i| FunctionFacts {
            ty: self.live_maps.types[live.functions[i as usize] as usize],
            import: imports.get(&i).copied(),
            name: names[i as usize],
            skeleton: live
                .body(i)
                .and_then(|body| Skeleton::of_body(&self.live_maps, spaces, body).ok()),
            present: present[i as usize],
        });
        let functions = functions.collect();

        let imports = imports_by_index(&live.loaded.imports, global_index);
        let mut globals: Vec<GlobalFacts<'a>> = (0..)
            .zip(&live.globals)
            .map(|(i, ty)| GlobalFacts {
                ty: *ty,
                import: imports.get(&i).copied(),
                name: None,
                init: None,
                present: false,
            })
            .collect();
        let expression = |init: &[u8]| Skeleton::of_expression(&self.live_maps, spaces, init).ok();
        for (&global, older) in &live.provenance.older.globals {
            let facts = &mut globals[global as usize];
            facts.name = older.name.as_deref();
            facts.init = expression(&older.init);
        }
        for (i, &global) in (0..).zip(&old_maps.globals) {
            let facts = &mut globals[global as usize];
            facts.present = true;
            facts.name = old.global_name(i);
            facts.init = initial_value(old, i)
                .and_then(|init| renumber_expression(old_maps, init).ok())
                .and_then(|init| expression(&init));
        }
        let defined = |i: &u32| *i >= live.imported_functions;
        Side {
            functions,
            globals,
            function_order: old_maps.functions.iter().copied().filter(defined).collect(),
            global_order: old_maps
                .globals
                .iter()
                .copied()
                .filter(|i| *i >= live.imported_globals)
                .collect(),
            exports: live.exports.iter().map(|(name, item)| (&**name, *item)).collect(),
            slots: table_slots::slots(old, old_maps, &self.old_values)
                .into_iter()
                .map(|(function, slot)| (old_maps.functions[function as usize], slot))
                .collect(),
        }
    }

    pub(super) fn new_side(&self, spaces: Spaces) -> Side<'a> {
        let new = self.new;
        let env = &new.env;
        let imports = imports_by_index(&new.imports, function_index);
        let exported = loaded_names(new);
        let functions = (0..).zip(env.functions.iter()).map(|(i, ty)| FunctionFacts {
            ty: self.maps.types[*ty as usize],
            import: imports.get(&i).copied(),
            name: new.function_name(i).or_else(|| exported.get(&i).copied()),
            skeleton: (i >= env.imported_functions)
                .then(|| new.code.current_body(i))
                .and_then(|body| Skeleton::of_body(&self.maps, spaces, body.bytes()).ok()),
            present: true,
        });
        let functions = functions.collect();
        let imports = imports_by_index(&new.imports, global_index);
        let globals = (0..).zip(env.globals.iter()).map(|(i, ty)| GlobalFacts {
            ty: *ty,
            import: imports.get(&i).copied(),
            name: new.global_name(i),
            init: initial_value(new, i)
                .and_then(|init| Skeleton::of_expression(&self.maps, spaces, init).ok()),
            present: true,
        });
        Side {
            functions,
            globals: globals.collect(),
            function_order: (env.imported_functions..env.functions.len() as u32).collect(),
            global_order: (env.imported_globals..env.globals.len() as u32).collect(),
            exports: new
                .exports
                .list()
                .iter()
                .map(|export| (&*export.name, export.item()))
                .collect(),
            slots: table_slots::slots(new, &self.maps, &self.new_values),
        }
    }
}

/// Names under which functions are exported as the module was written.
fn loaded_names(module: &ModuleState) -> HashMap<u32, &str> {
    let functions = module.exports.list().iter().rev();
    functions.filter_map(|e| Some((function_index(e.loaded_item())?, &*e.name))).collect()
}
