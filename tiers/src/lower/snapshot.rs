//! Lowered code as text, for tests: `snapshots/*.wat` hold functions and, behind each as comments, the
//! code that they are lowered to: `l` locals, `t` temporaries, `x` scratch slots; dots behind the first slot of a vector. `wide.wat` is lowered in the
//! wide form. `MIDAIR_BLESS=1` writes the comments anew.

use super::run;
use crate::interp::harness::Instance;
use crate::interp::machine::OPERANDS;
use crate::lowered::code::Form;
use crate::lowered::frame::HEADER;
use std::fmt::Write;
use std::path::Path;

/// The code of a function, one instruction a line: point, instruction, operands.
fn text(instance: &Instance, function: u32) -> String {
    let body = &instance.bodies[function as usize];
    let (lowered, recording) = run(&instance.env, body, None, Form::Usual, true).expect("valid");
    let (locals, first_temp) = (lowered.locals as i32, lowered.first_temp as i32);
    let slot = |n: i32| match n {
        n if n < 0 => format!("l{}", n + locals),
        n if n < first_temp => format!("x{}", n - HEADER as i32),
        n => format!("t{}", n - first_temp),
    };
    let mut out = String::new();
    let starts: Vec<u32> = recording.instructions.iter().map(|i| i.0).collect();
    let number = |offset: u32| starts.iter().position(|&start| start == offset);
    for (index, &(start, point, op)) in recording.instructions.iter().enumerate() {
        let mut at = start as usize + OPERANDS;
        let mut field = |size: usize| {
            let bytes = &lowered.code[at..at + size];
            at += size;
            (bytes, at - size)
        };
        write!(out, "{index:3} @{point:<3} {}", op.name()).unwrap();
        let branch = |(bytes, at): (&[u8], usize)| {
            let offset = i32::from_le_bytes(bytes.try_into().unwrap());
            match number((at as i32 + offset) as u32) {
                Some(target) => format!(" ->{target}"),
                None => " ->?".to_string(),
            }
        };
        let mut last = 0;
        for kind in op.layout().chars() {
            match kind {
                'd' | 's' => {
                    let n = i16::from_le_bytes(field(2).0.try_into().unwrap());
                    write!(out, " {}", slot(n.into())).unwrap();
                }
                'V' | 'v' => {
                    let n = i16::from_le_bytes(field(2).0.try_into().unwrap());
                    write!(out, " {}..", slot(n.into())).unwrap();
                }
                'D' | 'S' => {
                    let n = i32::from_le_bytes(field(4).0.try_into().unwrap());
                    write!(out, " {}", slot(n)).unwrap();
                }
                'i' => {
                    let n = i32::from_le_bytes(field(4).0.try_into().unwrap());
                    write!(out, " #{n}").unwrap();
                }
                'u' => {
                    last = u32::from_le_bytes(field(4).0.try_into().unwrap());
                    write!(out, " {last}").unwrap();
                }
                'q' => {
                    let n = u64::from_le_bytes(field(8).0.try_into().unwrap());
                    write!(out, " #{n:#x}").unwrap();
                }
                'b' => out.push_str(&branch(field(4))),
                _ => unreachable!("layouts have no {kind}"),
            }
        }
        if op.name() == "br_table" {
            for _ in 0..last {
                out.push_str(&branch(field(4)));
            }
        }
        out.push('\n');
    }
    out
}

/// A snapshot file with its comments as they should be.
fn blessed(source: &str, slot_reach: Option<u16>) -> String {
    let modules = source.split_inclusive("\n;; end\n");
    let mut out = String::new();
    for module in modules {
        let wat: String = module
            .split_inclusive('\n')
            .take_while(|line| !line.starts_with(";; function"))
            .collect();
        if wat.trim().is_empty() {
            continue;
        }
        let wat = wat.trim_end_matches(";; end\n");
        let instance = Instance::with(wat, |env| env.slot_reach = slot_reach);
        out.push_str(wat);
        for function in 0..instance.bodies.len() as u32 {
            writeln!(out, ";; function {function}").unwrap();
            for line in text(&instance, function).lines() {
                writeln!(out, ";; {line}").unwrap();
            }
        }
        out.push_str(";; end\n");
    }
    out
}

#[test]
fn lowered_code_is_as_the_snapshots_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lower/snapshots");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let slot_reach = path.ends_with("wide.wat").then_some(8);
        let expected = blessed(&source, slot_reach);
        if std::env::var_os("MIDAIR_BLESS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        } else {
            assert!(source == expected, "{} differs; it is now:\n{expected}", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}
