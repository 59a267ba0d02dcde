//! Compiling C to WebAssembly with the C compiler that the Python package `ziglang` carries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::packages;
use super::stamp::{Stamp, hash_file};
use crate::{process, project};

/// The instruction set: WebAssembly 2.0 without SIMD, named feature by feature because the
/// compiler's own default set has grown past it.
const CPU: &str =
    "-mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals+multivalue+reference_types";

/// The compiler's version.
const ZIGLANG: &str = "0.17.0";

/// Fetches the compiler; what it returns is for [`CProgram::compile`].
pub fn compiler() -> Result<PathBuf> {
    packages::from_pip("ziglang", ZIGLANG)
}

/// One program to compile.
#[derive(Debug, Default)]
pub struct CProgram {
    pub name: &'static str,
    pub sources: Vec<PathBuf>,
    pub includes: Vec<PathBuf>,
    /// Proposals that the code may use besides, as the compiler calls them.
    pub features: &'static [&'static str],
    /// Options besides those that all programs share.
    pub options: Vec<String>,
    /// Headers of our own that the result depends on but that are no sources.
    pub depends: Vec<PathBuf>,
}

impl CProgram {
    /// Compiles into `wasm/NAME.wasm` below the corpus directory unless that is up to date.
    pub fn compile(&self, zig: &Path) -> Result<PathBuf> {
        let wasm = PathBuf::from("wasm").join(self.name).with_extension("wasm");
        let output = project::corpus().join(&wasm);
        let stamp = Stamp::beside(&output, &self.key()?);
        if stamp.is_current() {
            return Ok(wasm);
        }
        println!("compile {}", self.name);
        fs::create_dir_all(output.parent().expect("has a parent"))?;
        let mut cc = zig_cc(zig);
        cc.args(self.flags());
        for dir in &self.includes {
            cc.arg("-I").arg(dir);
        }
        cc.args(&self.sources).arg("-o").arg(&output);
        process::run_tool(&mut cc, &format!("compiling {}", self.name))?;
        stamp.set()?;
        Ok(wasm)
    }

    /// Compiles the first of the sources alone for this machine, into `build/native/NAME`.
    pub fn compile_native(&self, zig: &Path) -> Result<PathBuf> {
        let native = PathBuf::from("build/native").join(self.name);
        let output = project::corpus().join(&native);
        let stamp = Stamp::beside(&output, &format!("{ZIGLANG} {}", hash_file(&self.sources[0])?));
        if !stamp.is_current() {
            fs::create_dir_all(output.parent().expect("has a parent"))?;
            let mut cc = zig_cc(zig);
            cc.args(["-O2", "-pthread"]).arg(&self.sources[0]).arg("-o").arg(&output);
            process::run_tool(&mut cc, &format!("compiling {} for this machine", self.name))?;
            stamp.set()?;
        }
        Ok(native)
    }

    fn flags(&self) -> Vec<String> {
        // Names stay for backtraces; debug information would be most of the file.
        let cpu = self.features.iter().fold(CPU.to_string(), |cpu, one| format!("{cpu}+{one}"));
        let shared = ["-target", "wasm32-wasi", &cpu, "-O2", "-fno-vectorize", "-Wl,--strip-debug"];
        shared.iter().map(ToString::to_string).chain(self.options.iter().cloned()).collect()
    }

    fn key(&self) -> Result<String> {
        let mut key = format!("{ZIGLANG} {}", self.flags().join(" "));
        for file in self.sources.iter().chain(&self.depends) {
            key += "\n";
            key += &hash_file(file)?;
        }
        Ok(key)
    }
}

fn zig_cc(zig: &Path) -> Command {
    let mut cc = Command::new("python3");
    cc.args(["-m", "ziglang", "cc"]).env("PYTHONPATH", zig);
    // Caches stay inside the corpus directory like everything else.
    let cache = project::corpus().join("build/zig-cache");
    cc.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    cc
}
