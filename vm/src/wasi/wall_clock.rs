//! Waiting for a point of time on the wall clock.
//!
//! `wasi-common` refuses that. So such a subscription is made into one for the time that is left until then, in a
//! copy of the subscriptions: the guest's own are not ours to change. That the clock may be set in the meantime is
//! not taken into account.

use super::context::WasiCtx;
use super::errno;
use super::preview1::uncorrected;
use anyhow::Result;
use std::time::{Duration, SystemTime};
use wasi_common::snapshots::preview_1::types::{
    Clockid, Errno, Rights, Subclockflags, Subscription, SubscriptionClock, SubscriptionU,
};
use wiggle::{GuestError, GuestMemory, GuestPtr};

/// `poll_oneoff`.
pub fn poll(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    n: i32,
    count: i32,
) -> Result<Errno> {
    let Ok(mut given) = read(memory, subscriptions, n) else {
        // For the same answer as otherwise.
        return uncorrected::poll_oneoff(context, memory, subscriptions, events, n, count);
    };
    for subscription in &given {
        let (of, direction) = match &subscription.u {
            SubscriptionU::FdRead(of) => (of, Rights::FD_READ),
            SubscriptionU::FdWrite(of) => (of, Rights::FD_WRITE),
            SubscriptionU::Clock(_) => continue,
        };
        let fd = u32::from(of.file_descriptor).cast_signed();
        if !context.given_up().leave(fd, Rights::POLL_FD_READWRITE | direction) {
            return Ok(Errno::Notcapable);
        }
    }
    let now = SystemTime::now();
    let on_wall_clock = given.iter_mut().filter_map(|given| on_wall_clock(&mut given.u));
    if on_wall_clock.map(|clock| make_relative(clock, now)).count() == 0 {
        return uncorrected::poll_oneoff(context, memory, subscriptions, events, n, count);
    }

    // A small memory instead of the guest's: subscriptions, room for as many events, and for their number.
    let events_at = given.len() * SUBSCRIPTION;
    let count_at = events_at + given.len() * EVENT;
    let size = count_at + COUNT;
    let (Ok(events_in_copy), Ok(count_in_copy)) =
        (i32::try_from(events_at), i32::try_from(count_at))
    else {
        return Ok(Errno::Nomem);
    };
    let mut bytes = vec![0; size + ALIGNMENT];
    let aligned = bytes.as_ptr().align_offset(ALIGNMENT);
    let copy = &mut bytes[aligned..][..size];
    for (index, given) in (0..).zip(given) {
        GuestMemory::Unshared(copy).write(GuestPtr::new(0).add(index)?, given)?;
    }
    let in_copy = &mut GuestMemory::Unshared(copy);
    let errno = uncorrected::poll_oneoff(context, in_copy, 0, events_in_copy, n, count_in_copy)?;
    if errno != Errno::Success {
        return Ok(errno);
    }
    let happened = GuestMemory::Unshared(copy).read(GuestPtr::<u32>::new(count_in_copy as u32))?;
    let happened_end = events_at + happened as usize * EVENT;
    let written = memory
        .copy_from_slice(
            &copy[events_at..happened_end],
            bytes_at(events, happened as usize * EVENT),
        )
        .and_then(|()| memory.write(GuestPtr::new(count.cast_unsigned()), happened));
    match written {
        Ok(()) => Ok(errno),
        Err(error) => errno::from_error(error.into()),
    }
}

/// Sizes in bytes, as the interface lays them out.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
const COUNT: usize = 4;
const ALIGNMENT: usize = 8;

fn bytes_at(offset: i32, len: usize) -> GuestPtr<[u8]> {
    GuestPtr::<u8>::new(offset.cast_unsigned()).as_array(len as u32)
}

fn read(
    memory: &GuestMemory<'_>,
    subscriptions: i32,
    n: i32,
) -> Result<Vec<Subscription>, GuestError> {
    let subscriptions = GuestPtr::<Subscription>::new(subscriptions.cast_unsigned());
    subscriptions.as_array(n.cast_unsigned()).iter().map(|given| memory.read(given?)).collect()
}

/// The clock of a subscription for a point of time on the wall clock.
fn on_wall_clock(subscription: &mut SubscriptionU) -> Option<&mut SubscriptionClock> {
    match subscription {
        SubscriptionU::Clock(clock)
            if clock.id == Clockid::Realtime && clock.flags.contains(ABSOLUTE) =>
        {
            Some(clock)
        }
        _ => None,
    }
}

const ABSOLUTE: Subclockflags = Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME;

/// Makes a subscription for a point of time into one for the time from now until then.
fn make_relative(clock: &mut SubscriptionClock, now: SystemTime) {
    let since_1970 = Duration::from_nanos(clock.timeout);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let left = since_1970.saturating_sub(now).as_nanos();
    clock.timeout = u64::try_from(left).unwrap_or(u64::MAX);
    clock.flags -= ABSOLUTE;
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasi_common::snapshots::preview_1::types::Event;
    use wiggle::GuestType;

    fn subscription(id: Clockid, timeout: u64, flags: Subclockflags) -> SubscriptionU {
        SubscriptionU::Clock(SubscriptionClock { id, timeout, precision: 7, flags })
    }

    #[test]
    fn only_points_of_time_on_the_wall_clock_are_changed() {
        for (clock, flags) in
            [(Clockid::Realtime, Subclockflags::empty()), (Clockid::Monotonic, ABSOLUTE)]
        {
            assert!(on_wall_clock(&mut subscription(clock, 5, flags)).is_none());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(1000);
        for (time, left) in [(1500, 500), (1000, 0), (1, 0), (u64::MAX, u64::MAX - 1000)] {
            let mut changed = subscription(Clockid::Realtime, time, ABSOLUTE);
            make_relative(on_wall_clock(&mut changed).unwrap(), now);
            let SubscriptionU::Clock(clock) = changed else { unreachable!() };
            assert_eq!((clock.timeout, clock.flags), (left, Subclockflags::empty()));
        }
    }

    #[test]
    fn sizes_are_those_of_the_interface() {
        assert_eq!(Subscription::guest_size() as usize, SUBSCRIPTION);
        assert_eq!(Event::guest_size() as usize, EVENT);
        assert!(Subscription::guest_align() <= ALIGNMENT && Event::guest_align() <= ALIGNMENT);
    }
}
