//! Waiting: for time to pass, for input, for room for output.

use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::SeekFrom;
use std::time::Duration;
use wasi_common::file::{FileType, WasiFile};
use wasi_common::sched::{Poll, RwEventFlags, Subscription, WasiSched};
use wasi_common::{Error, ErrorExt};

/// Blocks the thread that waits.
///
/// The scheduler of `wasi-common` ends the guest when the system cannot tell how many bytes there are to read, as
/// with `/dev/null`; it refuses streams that are not the system's, such as buffers in memory; and when one of
/// several descriptors is ready, it says so of all of them.
pub struct Scheduler;

#[wiggle::async_trait]
impl WasiSched for Scheduler {
    async fn poll_oneoff<'a>(&self, poll: &mut Poll<'a>) -> Result<(), Error> {
        // A stream without a descriptor is in memory, and always ready.
        let mut in_memory = false;
        let mut descriptors = Vec::new();
        for subscription in poll.rw_subscriptions() {
            let (file, events) = direction(subscription);
            match file.pollable() {
                Some(descriptor) => {
                    descriptors.push(PollFd::from_borrowed_fd(descriptor, events));
                }
                None => in_memory = true,
            }
        }

        loop {
            let until = match poll.earliest_clock_deadline() {
                _ if in_memory => Some(Duration::ZERO),
                Some(clock) => Some(clock.duration_until().unwrap_or(Duration::ZERO)),
                None => None,
            };
            // What does not fit is hundreds of years away.
            let timeout = until.and_then(|time| Timespec::try_from(time).ok());
            match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }

        let mut descriptors = descriptors.iter();
        for subscription in poll.rw_subscriptions() {
            let (file, events) = direction(subscription);
            let happened = match file.pollable() {
                Some(_) => descriptors.next().map_or(PollFlags::empty(), PollFd::revents),
                None => events,
            };
            if happened.is_empty() {
                continue;
            }
            let flags = if happened.contains(PollFlags::HUP) {
                RwEventFlags::HANGUP
            } else {
                RwEventFlags::empty()
            };
            let error = if happened.contains(PollFlags::NVAL) {
                Some(Error::badf())
            } else if happened.contains(PollFlags::ERR) {
                Some(Error::io())
            } else {
                None
            };
            match (subscription, error) {
                (Subscription::Read(read) | Subscription::Write(read), Some(error)) => {
                    read.error(error);
                }
                (Subscription::Read(read), None) => read.complete(bytes_to_read(file).await, flags),
                (Subscription::Write(write), None) => write.complete(0, flags),
                (Subscription::MonotonicClock(_), _) => {}
            }
        }
        // Clocks are looked at by whoever collects the results.
        Ok(())
    }

    async fn sched_yield(&self) -> Result<(), Error> {
        std::thread::yield_now();
        Ok(())
    }

    async fn sleep(&self, duration: Duration) -> Result<(), Error> {
        std::thread::sleep(duration);
        Ok(())
    }
}

/// The file that a subscription is about, and what it waits for.
fn direction<'a>(subscription: &Subscription<'a>) -> (&'a dyn WasiFile, PollFlags) {
    match subscription {
        Subscription::Read(read) => (read.file, PollFlags::IN),
        Subscription::Write(write) => (write.file, PollFlags::OUT),
        Subscription::MonotonicClock(_) => unreachable!("a clock neither reads nor writes"),
    }
}

/// How many bytes there are to read, as far as one can know; 1 if one cannot, and at the end.
async fn bytes_to_read(file: &dyn WasiFile) -> u64 {
    let known = match file.get_filetype().await {
        // `wasi-common` would take the position for one that is not beyond the end.
        Ok(FileType::RegularFile) => {
            match (file.get_filestat().await, file.seek(SeekFrom::Current(0)).await) {
                (Ok(stat), Ok(position)) => stat.size.saturating_sub(position),
                _ => 0,
            }
        }
        _ => file.num_ready_bytes().unwrap_or(0),
    };
    known.max(1)
}
