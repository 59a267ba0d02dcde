//! What a guest gets to see of the system.

use super::directory::Directory;
use super::poll::Scheduler;
use super::rights::GivenUp;
use super::standard_streams::StandardStream;
use anyhow::Result;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasi_common::file::FileAccessMode;
use wasi_common::sync::net::Socket;
use wasi_common::sync::{Dir, clocks_ctx, random_ctx};
use wasi_common::{Table, WasiFile};

/// What one guest sees of the system, and what it has open there: made by a [`WasiCtxBuilder`].
///
/// A clone is the same once more, for another thread of that guest: what one opens or closes, it does for all.
#[derive(Clone)]
pub struct WasiCtx {
    pub(super) system: wasi_common::WasiCtx,
    given_up: Arc<Mutex<GivenUp>>,
}

impl WasiCtx {
    /// The rights that descriptors do not have any more.
    pub(super) fn given_up(&self) -> MutexGuard<'_, GivenUp> {
        // Nothing panics with the lock held.
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With clocks, randomness, files and directories of one's own, as that crate wants them. Corrections of what it
/// opens and waits for itself are in what [`WasiCtxBuilder`] hands out, and so missing here.
impl From<wasi_common::WasiCtx> for WasiCtx {
    fn from(system: wasi_common::WasiCtx) -> WasiCtx {
        WasiCtx { system, given_up: Arc::default() }
    }
}

/// Builds a [`WasiCtx`]. A new one shows nothing: no arguments, no environment, no directories, empty input,
/// and output that goes nowhere.
pub struct WasiCtxBuilder {
    context: wasi_common::WasiCtx,
}

impl Default for WasiCtxBuilder {
    fn default() -> WasiCtxBuilder {
        WasiCtxBuilder::new()
    }
}

impl WasiCtxBuilder {
    /// A context that shows nothing.
    pub fn new() -> WasiCtxBuilder {
        let scheduler = Box::new(Scheduler);
        let context =
            wasi_common::WasiCtx::new(random_ctx(), clocks_ctx(), scheduler, Table::new());
        WasiCtxBuilder { context }
    }

    /// Adds an argument; the first one is the program's name. Fails if it has a NUL in it, or if there are more
    /// than fit.
    pub fn arg(&mut self, argument: &str) -> Result<&mut Self> {
        self.context.push_arg(argument)?;
        Ok(self)
    }

    /// Adds arguments, as [`arg`](WasiCtxBuilder::arg) does.
    pub fn args(&mut self, arguments: &[String]) -> Result<&mut Self> {
        for argument in arguments {
            self.arg(argument)?;
        }
        Ok(self)
    }

    /// Adds the arguments of this process. Panics if one of them is not UTF-8.
    pub fn inherit_args(&mut self) -> Result<&mut Self> {
        for argument in std::env::args() {
            self.arg(&argument)?;
        }
        Ok(self)
    }

    /// Adds a variable to the environment. Fails if it has a NUL in it, or if there are more than fit.
    pub fn env(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        self.context.push_env(name, value)?;
        Ok(self)
    }

    /// Adds variables, as [`env`](WasiCtxBuilder::env) does.
    pub fn envs(&mut self, variables: &[(String, String)]) -> Result<&mut Self> {
        for (name, value) in variables {
            self.env(name, value)?;
        }
        Ok(self)
    }

    /// Adds the environment of this process. Panics if something in it is not UTF-8.
    pub fn inherit_env(&mut self) -> Result<&mut Self> {
        for (name, value) in std::env::vars() {
            self.env(&name, &value)?;
        }
        Ok(self)
    }

    /// What the guest reads from.
    pub fn stdin(&mut self, file: Box<dyn WasiFile>) -> &mut Self {
        self.context.set_stdin(file);
        self
    }

    /// What the guest writes to.
    pub fn stdout(&mut self, file: Box<dyn WasiFile>) -> &mut Self {
        self.context.set_stdout(file);
        self
    }

    /// What the guest writes messages to.
    pub fn stderr(&mut self, file: Box<dyn WasiFile>) -> &mut Self {
        self.context.set_stderr(file);
        self
    }

    /// The guest reads from this process's standard input. No more is read than the guest asks for.
    pub fn inherit_stdin(&mut self) -> &mut Self {
        self.stdin(Box::new(StandardStream::Input))
    }

    /// The guest writes to this process's standard output, without a buffer in between. A process that itself
    /// writes there by [`std::io::stdout`] has to flush before it calls the guest.
    pub fn inherit_stdout(&mut self) -> &mut Self {
        self.stdout(Box::new(StandardStream::Output))
    }

    /// The guest writes messages to this process's standard error.
    pub fn inherit_stderr(&mut self) -> &mut Self {
        self.stderr(Box::new(StandardStream::Error))
    }

    /// The guest has this process's standard streams.
    pub fn inherit_stdio(&mut self) -> &mut Self {
        self.inherit_stdin().inherit_stdout().inherit_stderr()
    }

    /// The guest finds `directory` under the name `guest_path`, and reaches whatever is below it.
    pub fn preopened_dir(
        &mut self,
        directory: Dir,
        guest_path: impl AsRef<Path>,
    ) -> Result<&mut Self> {
        self.context.push_preopened_dir(Box::new(Directory::new(directory)), guest_path)?;
        Ok(self)
    }

    /// The guest finds `socket` as this file descriptor.
    pub fn preopened_socket(&mut self, fd: u32, socket: impl Into<Socket>) -> Result<&mut Self> {
        let file: Box<dyn WasiFile> = socket.into().into();
        self.context.insert_file(fd, file, FileAccessMode::all());
        Ok(self)
    }

    /// The context. The builder is as new afterwards.
    pub fn build(&mut self) -> WasiCtx {
        std::mem::take(self).context.into()
    }
}
