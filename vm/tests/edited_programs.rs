//! Programs that a real compiler has built are edited while they run, in ways that move variables about: no frame goes on
//! with the value of another variable, nor with code that looks for data elsewhere than it is.
//!
//! The programs and how they were built lie in `edited/`.

use anyhow::{Context, Result};
use midair::{Caller, Config, DataPolicy, Engine, Linker, Module, ModuleRefused, Store, Tier};
use std::path::Path;

/// What a program shows its host, round by round.
type Shown = Vec<(i32, i32)>;

struct Host {
    module: Module,
    edit: Option<Vec<u8>>,
    policy: DataPolicy,
    shown: Shown,
    told: Vec<String>,
}

/// The round in whose call the edit is made, counted from 0.
const EDITED: usize = 2;

/// Runs a program for six rounds, with an edit in the third one. What it shows, and what is told of the edit.
fn run(
    tier: Tier,
    old: &[u8],
    edit: Option<Vec<u8>>,
    policy: DataPolicy,
) -> Result<(Shown, Vec<String>)> {
    let engine = Engine::new(Config::new().tier(tier).background_compilation(false))?;
    let module = Module::new(&engine, old)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "number", |_: Caller<'_, Host>, n: i32| n)?;
    linker.func_wrap(
        "host",
        "go_on",
        |mut caller: Caller<'_, Host>, a: i32, b: i32| -> Result<i32> {
            let host = caller.data_mut();
            host.shown.push((a, b));
            if host.shown.len() == EDITED + 1
                && let Some(edit) = host.edit.take()
            {
                match host.module.update().module(edit)?.data(host.policy).apply() {
                    Ok(applied) => {
                        let refusals = applied.functions.iter().flat_map(|f| &f.refusals);
                        host.told.extend(refusals.map(ToString::to_string));
                    }
                    Err(error) => {
                        let refused = error.downcast::<ModuleRefused>()?;
                        host.told.extend(refused.reasons.iter().map(ToString::to_string));
                    }
                }
            }
            Ok(i32::from(host.shown.len() < 6))
        },
    )?;
    let told = Vec::new();
    let host = Host { module: module.clone(), edit, policy, shown: Vec::new(), told };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), i32>(&mut store, "f")?.call(&mut store, ())?;
    let Host { shown, told, .. } = store.into_data();
    Ok((shown, told))
}

/// Whether a program shows, from the edit on, what it would show with it, and goes on from where it was.
type Right = fn(&Shown) -> bool;

/// Edits that nothing but names in debug information tells from others, which would be harmless: other constants, and
/// arguments in another order.
const NEED_NAMES: [(&str, &str); 4] = [
    ("another_variable", "O0"),
    ("enumerator_inserted", "O0"),
    ("enumerator_inserted", "O2"),
    ("statics_exchanged", "O2"),
];

/// The programs, and what they show if their frame goes on in the new code and nothing is wrong; if there is something that
/// it could show.
const PROGRAMS: &[(&str, Option<Right>)] = &[
    ("steps_exchanged", Some(|shown| shown[3..] == [(105, 7007), (107, 7008), (109, 7009)])),
    ("derived", Some(|shown| shown[3..] == [(40, 4), (50, 5), (60, 6)])),
    ("wider", None),
    ("downwards", Some(|shown| shown[3..] == [(2, 0), (1, 0)])),
    ("arguments_exchanged", None),
    ("added_in_front", None),
    ("removed_in_front", None),
    ("unnamed_exchanged", None),
    ("another_variable", Some(|shown| shown[3..] == [(105, 90004), (110, 90005), (115, 90006)])),
    ("statics_exchanged", None),
    ("fields_exchanged", None),
    ("enumerator_inserted", None),
    ("pointers_exchanged", None),
];

fn program(name: &str, variant: &str, edited: &str) -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edited");
    let file = folder.join(format!("{name}-{variant}{edited}.wasm"));
    std::fs::read(&file).with_context(|| file.display().to_string())
}

const VARIANTS: [&str; 6] = ["O0-g", "O2-g", "O0-g0", "O2-g0", "O0-s", "O2-s"];

#[test]
fn nothing_goes_on_with_what_belongs_to_something_else() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, right) in PROGRAMS {
        for variant in VARIANTS {
            let is_nameless = |(needs, level): &(&str, &str)| {
                needs == name && variant.starts_with(level) && !variant.ends_with("-g")
            };
            if NEED_NAMES.iter().any(is_nameless) {
                continue;
            }
            let (old, new) = (program(name, variant, "")?, program(name, variant, "-edited")?);
            // Whoever asks for it has function pointers set as the new module has them.
            let policies = match *name {
                "pointers_exchanged" => &[DataPolicy::Refuse][..],
                _ => &[DataPolicy::Refuse, DataPolicy::Apply],
            };
            for &policy in policies {
                for tier in [Tier::Interp, Tier::Optimized] {
                    let (stayed, _) = run(tier, &old, None, policy)?;
                    let (shown, told) = run(tier, &old, Some(new.clone()), policy)?;
                    if shown != stayed && !right.is_some_and(|right| right(&shown)) {
                        wrong.push(format!(
                            "{name} {variant} {policy:?} {tier:?}: {shown:?} {told:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_constant_that_is_edited_keeps_no_frame_in_its_old_body() -> Result<()> {
    for variant in VARIANTS {
        let old = program("harmless", variant, "")?;
        let new = program("harmless", variant, "-edited")?;
        let (shown, told) = run(Tier::Auto, &old, Some(new), DataPolicy::Refuse)?;
        assert_eq!(told, [] as [&str; 0], "{variant}");
        assert_eq!(
            shown,
            [(1, 1), (2, 2), (3, 3), (1_000_004, 4), (1_000_005, 5), (1_000_006, 6)],
            "{variant}"
        );
    }
    Ok(())
}
