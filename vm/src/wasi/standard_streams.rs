//! The standard streams of this process, as files of a guest.
//!
//! They are read and written without a buffer. `wasi-common` goes through the buffers of Rust's standard library:
//! polling does not see input that lies in one, the guest takes more input than it asks for from whoever reads
//! after it, and output that could not be written stays in one, to be written again later.

use rustix::fd::BorrowedFd;
use std::any::Any;
use std::io::{IoSlice, IoSliceMut, IsTerminal, SeekFrom};
use wasi_common::file::{FdFlags, FileType, WasiFile};
use wasi_common::{Error, ErrorExt};

/// One of the three streams of this process.
#[derive(Clone, Copy)]
pub enum StandardStream {
    Input,
    Output,
    Error,
}

impl StandardStream {
    fn descriptor(&self) -> BorrowedFd<'static> {
        match self {
            StandardStream::Input => rustix::stdio::stdin(),
            StandardStream::Output => rustix::stdio::stdout(),
            StandardStream::Error => rustix::stdio::stderr(),
        }
    }
}

#[wiggle::async_trait]
impl WasiFile for StandardStream {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn pollable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor())
    }

    fn isatty(&self) -> bool {
        self.descriptor().is_terminal()
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        // Guests take every character device for a terminal, also `/dev/null`.
        Ok(if self.isatty() { FileType::CharacterDevice } else { FileType::Unknown })
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        Ok(match self {
            StandardStream::Input => FdFlags::empty(),
            StandardStream::Output | StandardStream::Error => FdFlags::APPEND,
        })
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        let read = rustix::io::retry_on_intr(|| rustix::io::readv(self.descriptor(), buffers));
        Ok(read.map_err(std::io::Error::from)? as u64)
    }

    async fn read_vectored_at<'a>(
        &self,
        _buffers: &mut [IoSliceMut<'a>],
        _offset: u64,
    ) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        let written = rustix::io::retry_on_intr(|| rustix::io::writev(self.descriptor(), buffers));
        Ok(written.map_err(std::io::Error::from)? as u64)
    }

    async fn write_vectored_at<'a>(
        &self,
        _buffers: &[IoSlice<'a>],
        _offset: u64,
    ) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    async fn seek(&self, _position: SeekFrom) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    async fn peek(&self, _buffer: &mut [u8]) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        Ok(rustix::io::ioctl_fionread(self.descriptor()).map_err(std::io::Error::from)?)
    }
}
