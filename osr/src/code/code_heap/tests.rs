use super::*;
use midair_watchdog::Watchdog;
use proptest::prelude::*;

fn code(len: usize, fill: u8) -> CodeDescription {
    CodeDescription { bytes: vec![fill; len], ..CodeDescription::default() }
}

fn bytes(object: &CodeObject) -> &[u8] {
    // SAFETY: live code is readable.
    unsafe { std::slice::from_raw_parts(object.start(), object.len()) }
}

#[test]
fn published_code_runs() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(1 << 20).unwrap();
    // mov eax, 42; ret
    let bytes = vec![0xb8, 42, 0, 0, 0, 0xc3];
    let description = CodeDescription { bytes, ..CodeDescription::default() };
    let object = heap.publish(description, Arc::new(())).unwrap();
    // SAFETY: the bytes are a function of this type.
    let run: extern "sysv64" fn() -> u32 = unsafe { std::mem::transmute(object.start()) };
    assert_eq!(run(), 42);
}

#[test]
fn freed_code_is_poisoned_at_once() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(1 << 20).unwrap();
    let object = heap.publish(code(100, 0x90), Arc::new(())).unwrap();
    assert!(!heap.is_poisoned(&object));
    // SAFETY: nothing ever ran it.
    unsafe { heap.free(&object) };
    assert!(heap.is_poisoned(&object));
    assert_eq!(bytes(&object), [POISON; 100]);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn empty_memory_is_given_back() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(64 << 20).unwrap();
    let publish = || heap.publish(code(100_000, 1), Arc::new(())).unwrap();
    let objects: Vec<_> = (0..200).map(|_| publish()).collect();
    for object in &objects {
        // SAFETY: nothing ever ran it.
        unsafe { heap.free(object) };
    }
    assert!(heap.stats().released_bytes > 8 << 20, "{:?}", heap.stats());
    let resident = heap.resident_bytes().unwrap();
    assert!(resident > 0 && resident <= SLACK_BYTES + (1 << 20), "{resident}");
    heap.collect();
    assert!(heap.stats().released_bytes > 19 << 20, "{:?}", heap.stats());
    assert_eq!(heap.resident_bytes().unwrap(), 0);
    // Looking at what was given back does not fetch it again.
    assert!(objects.iter().all(|object| heap.is_poisoned(object)));
    assert_eq!(heap.resident_bytes().unwrap(), 0);
    assert_eq!(heap.stats().committed_bytes, 0);
}

#[test]
fn memory_of_the_system_follows_what_is_live() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(64 << 20).unwrap();
    let publish = || heap.publish(code(RELEASE_UNIT, 1), Arc::new(())).unwrap();
    let objects: Vec<_> = (0..1000).map(|_| publish()).collect();
    assert_eq!(heap.resident_bytes().unwrap(), (1000 * RELEASE_UNIT) as u64);
    for object in &objects[100..] {
        // SAFETY: nothing ever ran it.
        unsafe { heap.free(object) };
    }
    let stats = heap.stats();
    assert_eq!(heap.resident_bytes().unwrap(), stats.committed_bytes);
    assert!(stats.committed_bytes <= stats.live_bytes + SLACK_BYTES + QUARANTINE_BYTES as u64);
    heap.collect();
    assert_eq!(heap.resident_bytes().unwrap(), (100 * RELEASE_UNIT) as u64);
}

/// The books of a snapshot: nothing is missing, nothing overlaps.
fn check_books(snapshot: &CodeHeapSnapshot) {
    let stats = &snapshot.stats;
    let live: u64 = snapshot.objects.iter().map(|o| o.heap_bytes() as u64).sum();
    let quarantined: u64 = snapshot.quarantined.iter().map(|q| q.1 as u64).sum();
    assert_eq!(live, stats.live_bytes);
    assert_eq!(snapshot.objects.len() as u64, stats.live_objects);
    assert_eq!(quarantined, stats.quarantined_bytes);
    assert_eq!(stats.published, stats.live_objects + stats.freed);
    let whole = snapshot.thunk_area_bytes + live + quarantined + snapshot.free_bytes;
    assert_eq!(whole, snapshot.reserved_bytes);
    let mut ranges: Vec<(usize, usize)> = snapshot.quarantined.clone();
    ranges.extend(snapshot.objects.iter().map(|o| (o.start() as usize, o.heap_bytes())));
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:x?}");
}

#[test]
fn snapshots_agree_with_the_counters_while_threads_publish_and_free() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(4 << 20).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..4u8)
            .map(|seed| {
                let heap = &heap;
                scope.spawn(move || {
                    for i in 0..2000usize {
                        let len = (i * 97 * usize::from(seed)) % 3000;
                        let object = heap.publish(code(len, seed), Arc::new(())).unwrap();
                        assert!(bytes(&object).iter().all(|b| *b == seed));
                        // SAFETY: nothing ever ran it.
                        unsafe { heap.free(&object) };
                    }
                })
            })
            .collect();
        let (heap, done) = (&heap, &done);
        let watcher = scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                check_books(&heap.snapshot());
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Release);
        watcher.join().unwrap();
    });
    check_books(&heap.snapshot());
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_full_heap_says_so_and_recovers() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(RELEASE_UNIT).unwrap();
    let object = heap.publish(code(RELEASE_UNIT, 1), Arc::new(())).unwrap();
    let full = heap.publish(code(1, 1), Arc::new(()));
    assert!(matches!(full, Err(CodeHeapError::OutOfCodeSpace { wanted: 1 })));
    // SAFETY: nothing ever ran it.
    unsafe { heap.free(&object) };
    assert!(heap.publish(code(1, 1), Arc::new(())).is_ok());
}

#[test]
fn dropping_a_heap_drops_the_owners_of_its_code() {
    let _watchdog = Watchdog::start();
    let owner: Arc<dyn Any + Send + Sync> = Arc::new(());
    let heap = CodeHeap::new(1 << 20).unwrap();
    for _ in 0..10 {
        heap.publish(code(100, 1), owner.clone()).unwrap();
    }
    drop(heap);
    assert_eq!(Arc::strong_count(&owner), 1);
}

proptest! {
    #[test]
    fn live_code_never_overlaps_and_keeps_its_bytes(
        steps in proptest::collection::vec((1usize..5000, any::<prop::sample::Index>(), any::<bool>()), 1..200)
    ) {
        let heap = CodeHeap::new(1 << 20).unwrap();
        let mut live: Vec<(u8, Arc<CodeObject>)> = Vec::new();
        for (i, (len, victim, free)) in steps.into_iter().enumerate() {
            let before = heap.snapshot();
            if free && !live.is_empty() {
                let (_, object) = live.swap_remove(victim.index(live.len()));
                // SAFETY: nothing ever ran it.
                unsafe { heap.free(&object) };
            } else if let Ok(object) = heap.publish(code(len, i as u8), Arc::new(())) {
                // What is in quarantine is not used before a barrier.
                let (start, end) = (object.start() as usize, object.start() as usize + len);
                let reused = before.quarantined.iter().any(|&(at, n)| at < end && start < at + n);
                prop_assert!(!reused || heap.stats().barriers > before.stats.barriers);
                live.push((i as u8, object));
            }
        }
        check_books(&heap.snapshot());
        for (fill, object) in &live {
            prop_assert!(bytes(object).iter().all(|b| b == fill));
            let inside = object.start() as usize + object.len() - 1;
            prop_assert_eq!(registry::lookup(inside), Some(Arc::as_ptr(object)));
        }
        let held: usize = live.iter().map(|(_, o)| o.len().next_multiple_of(GRANULE)).sum();
        prop_assert_eq!(heap.stats().live_bytes, held as u64);
    }
}
