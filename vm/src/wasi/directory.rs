//! Directories of the host, as the guest sees them.
//!
//! The work is done by `wasi-common`. What is done here is what it gets wrong: ways to open files that it refuses or
//! forgets, names that only a directory can get, and times before 1970, which make it panic.

use std::any::Any;
use std::path::PathBuf;
use std::time::SystemTime;
use wasi_common::dir::{OpenResult, ReaddirCursor, ReaddirEntity, WasiDir};
use wasi_common::file::{
    Advice, FdFlags, FileType, Filestat, OFlags, RiFlags, RoFlags, SdFlags, SiFlags, WasiFile,
};
use wasi_common::sync::dir::Dir;
use wasi_common::{Error, ErrorExt, SystemTimeSpec};

/// A directory that the guest has open.
pub struct Directory(Box<dyn WasiDir>);

impl Directory {
    pub fn new(directory: cap_std::fs::Dir) -> Directory {
        Directory(Box::new(Dir::from_cap_std(directory)))
    }
}

/// WASI has no time before 1970, and `wasi-common` panics at one.
fn representable(mut stat: Filestat) -> Filestat {
    for time in [&mut stat.atim, &mut stat.mtim, &mut stat.ctim] {
        *time = time.map(|time| time.max(SystemTime::UNIX_EPOCH));
    }
    stat
}

#[wiggle::async_trait]
impl WasiDir for Directory {
    /// What is wrapped: to rename and to link, `wasi-common` wants to know its own type again.
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }

    async fn open_file(
        &self,
        follow_symlinks: bool,
        path: &str,
        oflags: OFlags,
        read: bool,
        write: bool,
        fdflags: FdFlags,
    ) -> Result<OpenResult, Error> {
        let truncate = oflags.contains(OFlags::TRUNCATE);
        // Rust's standard library refuses to truncate what is not opened for writing. What the guest may do with
        // the descriptor does not depend on how the file is opened here.
        let write = write || truncate;
        // And it refuses to truncate and to append, which is how every shell's log file is begun anew.
        let fdflags_at_first = if truncate { fdflags.difference(FdFlags::APPEND) } else { fdflags };
        // To set one flag takes the others away in `wasi-common`, also when it sets one itself.
        let flags_later = fdflags != fdflags_at_first || fdflags.contains(FdFlags::NONBLOCK);
        let opened =
            self.0.open_file(follow_symlinks, path, oflags, read, write, fdflags_at_first).await?;
        Ok(match opened {
            OpenResult::Dir(directory) => OpenResult::Dir(Box::new(Directory(directory))),
            OpenResult::File(mut file) => {
                if flags_later {
                    file.set_fdflags(fdflags).await?;
                }
                OpenResult::File(Box::new(File(file)))
            }
        })
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        self.0.create_dir(path).await
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.0.readdir(cursor).await
    }

    async fn symlink(&self, old_path: &str, new_path: &str) -> Result<(), Error> {
        self.0.symlink(old_path, new_path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        self.0.remove_dir(path).await
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.0.unlink_file(path).await
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.0.read_link(path).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        Ok(representable(self.0.get_filestat().await?))
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        Ok(representable(self.0.get_path_filestat(path, follow_symlinks).await?))
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        // A name that ends in a slash is that of a directory, which `wasi-common` heeds for the old name only.
        if to_path.ends_with('/')
            && self.0.get_path_filestat(path, false).await?.filetype != FileType::Directory
        {
            return Err(Error::not_dir());
        }
        self.0.rename(path, to, to_path).await
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        self.0.hard_link(path, to, to_path).await
    }

    async fn set_times(
        &self,
        path: &str,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
        follow_symlinks: bool,
    ) -> Result<(), Error> {
        self.0.set_times(path, accessed, modified, follow_symlinks).await
    }
}

/// A file that the guest has opened in a [`Directory`].
struct File(Box<dyn WasiFile>);

#[wiggle::async_trait]
impl WasiFile for File {
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }

    fn pollable(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.0.pollable()
    }

    fn isatty(&self) -> bool {
        self.0.isatty()
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        Ok(representable(self.0.get_filestat().await?))
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        self.0.get_filetype().await
    }

    async fn sock_accept(&self, fdflags: FdFlags) -> Result<Box<dyn WasiFile>, Error> {
        self.0.sock_accept(fdflags).await
    }

    async fn sock_recv<'a>(
        &self,
        data: &mut [std::io::IoSliceMut<'a>],
        flags: RiFlags,
    ) -> Result<(u64, RoFlags), Error> {
        self.0.sock_recv(data, flags).await
    }

    async fn sock_send<'a>(
        &self,
        data: &[std::io::IoSlice<'a>],
        flags: SiFlags,
    ) -> Result<u64, Error> {
        self.0.sock_send(data, flags).await
    }

    async fn sock_shutdown(&self, how: SdFlags) -> Result<(), Error> {
        self.0.sock_shutdown(how).await
    }

    async fn datasync(&self) -> Result<(), Error> {
        self.0.datasync().await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.0.sync().await
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        self.0.get_fdflags().await
    }

    async fn set_fdflags(&mut self, flags: FdFlags) -> Result<(), Error> {
        self.0.set_fdflags(flags).await
    }

    async fn set_filestat_size(&self, size: u64) -> Result<(), Error> {
        self.0.set_filestat_size(size).await
    }

    async fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Error> {
        self.0.advise(offset, len, advice).await
    }

    async fn set_times(
        &self,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        self.0.set_times(accessed, modified).await
    }

    async fn read_vectored<'a>(
        &self,
        buffers: &mut [std::io::IoSliceMut<'a>],
    ) -> Result<u64, Error> {
        self.0.read_vectored(buffers).await
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [std::io::IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.0.read_vectored_at(buffers, offset).await
    }

    async fn write_vectored<'a>(&self, buffers: &[std::io::IoSlice<'a>]) -> Result<u64, Error> {
        self.0.write_vectored(buffers).await
    }

    async fn write_vectored_at<'a>(
        &self,
        buffers: &[std::io::IoSlice<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.0.write_vectored_at(buffers, offset).await
    }

    async fn seek(&self, position: std::io::SeekFrom) -> Result<u64, Error> {
        self.0.seek(position).await
    }

    async fn peek(&self, buffer: &mut [u8]) -> Result<u64, Error> {
        self.0.peek(buffer).await
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        self.0.num_ready_bytes()
    }

    async fn readable(&self) -> Result<(), Error> {
        self.0.readable().await
    }

    async fn writable(&self) -> Result<(), Error> {
        self.0.writable().await
    }
}
