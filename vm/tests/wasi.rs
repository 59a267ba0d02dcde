//! WASI, where the crate that makes the system calls is corrected: each test is about one of its faults.

use midair::wasi::{Dir, ReadPipe, WasiCtx, WasiCtxBuilder, WritePipe, ambient_authority};
use midair::{Engine, Instance, Linker, Memory, Module, Store, Val};
use midair_watchdog::Watchdog;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Errors, rights and flags, as the interface numbers them.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const ILSEQ: i32 = 25;
const INVAL: i32 = 28;
const IO: i32 = 29;
const NOENT: i32 = 44;
const NOTDIR: i32 = 54;
const NOTEMPTY: i32 = 55;
const NOTSOCK: i32 = 57;
const XDEV: i32 = 75;
const NOTCAPABLE: i32 = 76;

const FD_READ: i64 = 1 << 1;
const FD_SEEK: i64 = 1 << 2;
const FD_WRITE: i64 = 1 << 6;
const PATH_CREATE_FILE: i64 = 1 << 10;
const PATH_FILESTAT_SET_SIZE: i64 = 1 << 19;
const POLL_FD_READWRITE: i64 = 1 << 27;

const CREAT: i32 = 1;
const TRUNC: i32 = 8;
const APPEND: i32 = 1;
const NONBLOCK: i32 = 4;

/// The functions that a [`Guest`] can be made to call, with their parameters.
const CALLS: &[(&str, &str)] = &[
    ("fd_close", "i32"),
    ("fd_fdstat_get", "i32 i32"),
    ("fd_fdstat_set_rights", "i32 i64 i64"),
    ("fd_filestat_get", "i32 i32"),
    ("fd_pread", "i32 i32 i32 i64 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_renumber", "i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("proc_raise", "i32"),
    ("random_get", "i32 i32"),
    ("sock_accept", "i32 i32 i32"),
    ("sock_recv", "i32 i32 i32 i32 i32 i32"),
    ("sock_send", "i32 i32 i32 i32 i32"),
    ("sock_shutdown", "i32 i32"),
];

/// A program whose calls and memory are those of the test.
struct Guest {
    store: Store<WasiCtx>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    fn new(wasi: WasiCtx) -> Guest {
        let mut text = String::from("(module");
        for (name, parameters) in CALLS {
            write!(
                text,
                r#"(import "wasi_snapshot_preview1" "{name}"
                    (func ${name} (param {parameters}) (result i32)))"#
            )
            .unwrap();
        }
        text.push_str(r#"(memory (export "memory") 1)"#);
        for (name, parameters) in CALLS {
            let arguments: String = (0..parameters.split(' ').count())
                .map(|index| format!("(local.get {index})"))
                .collect();
            write!(
                text,
                r#"(func (export "{name}") (param {parameters}) (result i32)
                    (call ${name} {arguments}))"#
            )
            .unwrap();
        }
        text.push(')');
        let engine = Engine::default();
        let mut linker = Linker::new(&engine);
        midair::wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi).unwrap();
        let mut store = Store::new(&engine, wasi);
        let module = Module::new(&engine, text).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Guest { store, instance, memory }
    }

    /// With a directory of its own as descriptor 3, in which there is a file `file` of 5 bytes.
    fn with_directory(test: &str) -> (Guest, PathBuf) {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasi").join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), "12345").unwrap();
        let directory = Dir::open_ambient_dir(&path, ambient_authority()).unwrap();
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(directory, "/").unwrap();
        (Guest::new(wasi.build()), path)
    }

    /// The errno of a call. Fails if the guest is ended instead.
    #[track_caller]
    fn call<const N: usize>(&mut self, name: &str, arguments: [i64; N]) -> i32 {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let (_, parameters) = CALLS.iter().find(|(call, _)| *call == name).unwrap();
        let arguments: Vec<Val> = parameters
            .split(' ')
            .zip(arguments)
            .map(|(ty, value)| if ty == "i64" { Val::I64(value) } else { Val::I32(value as i32) })
            .collect();
        let mut results = [Val::I32(0)];
        function
            .call(&mut self.store, &arguments, &mut results)
            .unwrap_or_else(|error| panic!("{name} ended the guest: {error:?}"));
        results[0].unwrap_i32()
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.memory.write(&mut self.store, offset, bytes).unwrap();
    }

    fn get<const N: usize>(&mut self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(&self.store, offset, &mut bytes).unwrap();
        bytes
    }

    fn get_u32(&mut self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }

    /// A vector of one buffer at offset 0.
    fn put_buffer(&mut self, offset: u32, len: u32) {
        self.put(0, &offset.to_le_bytes());
        self.put(4, &len.to_le_bytes());
    }

    /// Opens `name` below `directory`: its descriptor, or what is wrong.
    #[track_caller]
    fn open(
        &mut self,
        directory: i32,
        name: &str,
        oflags: i32,
        rights: i64,
        fdflags: i32,
    ) -> Result<i32, i32> {
        self.put(512, name.as_bytes());
        let arguments = [
            directory.into(),
            0,
            512,
            name.len() as i64,
            oflags.into(),
            rights,
            -1,
            fdflags.into(),
            600,
        ];
        match self.call("path_open", arguments) {
            SUCCESS => Ok(self.get_u32(600) as i32),
            errno => Err(errno),
        }
    }

    /// Base and inheriting rights of a descriptor.
    #[track_caller]
    fn rights(&mut self, fd: i32) -> (i64, i64) {
        assert_eq!(self.call("fd_fdstat_get", [fd.into(), 64]), SUCCESS);
        (i64::from_le_bytes(self.get(72)), i64::from_le_bytes(self.get(80)))
    }

    #[track_caller]
    fn give_up(&mut self, fd: i32, base: i64, inheriting: i64) {
        let (has, passes_on) = self.rights(fd);
        let left = [fd.into(), has & !base, passes_on & !inheriting];
        assert_eq!(self.call("fd_fdstat_set_rights", left), SUCCESS);
        assert_eq!(self.rights(fd), (has & !base, passes_on & !inheriting));
    }

    /// Polls; what happened: what a subscription is known by, error, kind.
    #[track_caller]
    fn poll(&mut self, subscriptions: &[[u8; 48]]) -> Result<Vec<(u64, i32, u8)>, i32> {
        for (index, subscription) in subscriptions.iter().enumerate() {
            self.put(1024 + index * 48, subscription);
        }
        match self.call("poll_oneoff", [1024, 4096, subscriptions.len() as i64, 8192]) {
            SUCCESS => {}
            errno => return Err(errno),
        }
        let count = self.get_u32(8192) as usize;
        Ok((0..count)
            .map(|index| {
                let event: [u8; 32] = self.get(4096 + index * 32);
                let userdata = u64::from_le_bytes(event[..8].try_into().unwrap());
                (userdata, i32::from(event[8]) | i32::from(event[9]) << 8, event[10])
            })
            .collect())
    }
}

const REALTIME: u8 = 0;
const MONOTONIC: u8 = 1;
const ABSOLUTE: u8 = 1;
const CLOCK: u8 = 0;
const READ: u8 = 1;
const WRITE: u8 = 2;

fn clock(userdata: u64, clock: u8, time: Duration, flags: u8) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[8] = CLOCK;
    bytes[16] = clock;
    bytes[24..32].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
    bytes[40] = flags;
    bytes
}

fn descriptor(userdata: u64, kind: u8, fd: i32) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[8] = kind;
    bytes[16..20].copy_from_slice(&fd.to_le_bytes());
    bytes
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

#[test]
fn a_point_of_time_on_the_wall_clock_can_be_waited_for() {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::new(WasiCtxBuilder::new().build());
    let past = clock(7, REALTIME, now() - Duration::from_secs(3600), ABSOLUTE);
    assert_eq!(guest.poll(&[past]), Ok(vec![(7, SUCCESS, CLOCK)]));
    assert_eq!(guest.poll(&[clock(8, REALTIME, Duration::ZERO, ABSOLUTE)]).unwrap().len(), 1);
    assert_eq!(guest.poll(&[clock(8, MONOTONIC, Duration::ZERO, ABSOLUTE)]).unwrap().len(), 1);

    let (start, wait) = (Instant::now(), Duration::from_millis(50));
    let soon = clock(9, REALTIME, now() + wait, ABSOLUTE);
    let never = clock(10, REALTIME, now() + Duration::from_secs(100_000), ABSOLUTE);
    assert_eq!(guest.poll(&[never, soon]), Ok(vec![(9, SUCCESS, CLOCK)]));
    // The wall clock may be set meanwhile, but not by much here.
    assert!(start.elapsed() >= wait / 2);
    // The guest's own are as they were.
    assert_eq!(guest.get::<48>(1024), never);
    assert_eq!(guest.get::<48>(1024 + 48), soon);
}

#[test]
fn only_what_is_ready_has_an_event() {
    let _watchdog = Watchdog::start();
    let (mut guest, path) = Guest::with_directory("ready");
    let file = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    let never = clock(1, MONOTONIC, Duration::from_secs(100_000), 0);
    // Without streams of the system: those of a new context are in memory, and always ready.
    let subscriptions =
        [never, descriptor(2, READ, file), descriptor(3, READ, 0), descriptor(4, WRITE, 1)];
    let mut events = guest.poll(&subscriptions).unwrap();
    events.sort_unstable();
    assert_eq!(events, [(2, SUCCESS, READ), (3, SUCCESS, READ), (4, SUCCESS, WRITE)]);

    // Of two descriptors of the system one is ready.
    let made = Command::new("mkfifo").arg(path.join("fifo")).status().unwrap();
    assert!(made.success());
    let fifo = guest.open(3, "fifo", 0, FD_READ | FD_WRITE, 0).unwrap();
    let subscriptions = [descriptor(1, READ, fifo), descriptor(2, READ, file)];
    assert_eq!(guest.poll(&subscriptions), Ok(vec![(2, SUCCESS, READ)]));
    guest.put_buffer(32, 1);
    assert_eq!(guest.call("fd_write", [fifo.into(), 0, 1, 16]), SUCCESS);
    assert_eq!(guest.poll(&subscriptions).unwrap().len(), 2);
    assert_eq!(guest.poll(&[descriptor(1, READ, 99)]), Err(BADF));
}

#[test]
fn pipes_in_memory_can_be_polled() {
    let _watchdog = Watchdog::start();
    let output = WritePipe::new_in_memory();
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(Box::new(ReadPipe::from("in"))).stdout(Box::new(output));
    let mut guest = Guest::new(wasi.build());
    let events = guest.poll(&[descriptor(1, READ, 0), descriptor(2, WRITE, 1)]).unwrap();
    assert_eq!(events, [(1, SUCCESS, READ), (2, SUCCESS, WRITE)]);
}

#[test]
fn pointers_out_of_bounds_are_an_errno() {
    let _watchdog = Watchdog::start();
    let (mut guest, _) = Guest::with_directory("bounds");
    let file = i64::from(guest.open(3, "file", 0, FD_READ | FD_WRITE, 0).unwrap());
    for (offset, len) in [(65536, 1), (65000, 65536), (u32::MAX, 1), (1, u32::MAX)] {
        guest.put_buffer(offset, len);
        for (call, fd) in [("fd_read", 0), ("fd_read", file), ("fd_write", 1), ("fd_write", file)] {
            assert_eq!(guest.call(call, [fd, 0, 1, 16]), FAULT, "{call} {offset} {len}");
        }
        assert_eq!(guest.call("fd_pread", [file, 0, 1, 0, 16]), FAULT);
        assert_eq!(guest.call("random_get", [offset.into(), len.into()]), FAULT);
    }
    // The vector itself, results, paths, subscriptions.
    assert_eq!(guest.call("fd_write", [1, 65532, 1, 16]), FAULT);
    guest.put_buffer(32, 1);
    assert_eq!(guest.call("fd_write", [1, 0, 1, 65536]), FAULT);
    assert_eq!(guest.call("fd_filestat_get", [file, 65504]), FAULT);
    assert_eq!(guest.call("fd_fdstat_get", [file, 65528]), FAULT);
    assert_eq!(guest.call("path_open", [3, 0, 65536, 4, 0, 0, 0, 0, 600]), FAULT);
    // A clock, the end of which is missing.
    guest.put(65504, &[0; 32]);
    assert_eq!(guest.call("poll_oneoff", [65504, 0, 1, 16]), FAULT);
    // No room for the events of a clock that is made into another.
    let past = clock(7, REALTIME, Duration::ZERO, ABSOLUTE);
    guest.put(1024, &past);
    assert_eq!(guest.call("poll_oneoff", [1024, 65528, 1, 16]), FAULT);
    assert_eq!(guest.call("poll_oneoff", [1024, 4096, 1, 65534]), FAULT);
    // Out of alignment.
    assert_eq!(guest.call("fd_write", [1, 1, 1, 16]), INVAL);
}

#[test]
fn flags_and_numbers_that_do_not_exist_are_an_errno() {
    let (mut guest, _) = Guest::with_directory("unknown");
    let file = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    assert_eq!(guest.call("fd_seek", [file.into(), 0, 9, 64]), INVAL);
    assert_eq!(guest.call("fd_seek", [file.into(), 0, 1000, 64]), INVAL);
    assert_eq!(guest.call("sock_shutdown", [file.into(), 99]), INVAL);
    assert_eq!(guest.open(3, "file", -1, FD_READ, 0), Err(INVAL));
    assert_eq!(guest.open(3, "file", 0, FD_READ, -1), Err(INVAL));
    // A name that is not UTF-8.
    assert_ne!(guest.call("path_open", [3, 0, 700, 1, 0, 0, 0, 0, 600]), SUCCESS);
    guest.put(700, &[0xff]);
    assert_eq!(guest.call("path_open", [3, 0, 700, 1, 0, 0, 0, 0, 600]), ILSEQ);
    // All rights that there may ever be.
    let all = guest.open(3, "file", 0, -1, 0).unwrap();
    assert_ne!(guest.rights(all).0 & FD_READ, 0);
}

#[test]
fn what_cannot_be_told_is_not_opened() {
    let (mut guest, _) = Guest::with_directory("untold");
    guest.put(512, b"file");
    assert_eq!(guest.call("path_open", [3, 0, 512, 4, 0, FD_READ, 0, 0, 65536]), FAULT);
    assert_eq!(guest.call("fd_close", [4]), BADF);
}

#[test]
fn a_file_can_be_emptied_and_appended_to() {
    appended_to("append", CREAT | TRUNC, APPEND, "");
}

#[test]
fn a_file_can_be_appended_to_without_waiting() {
    appended_to("nonblock", CREAT, APPEND | NONBLOCK, "12345");
    appended_to("nonblock-empty", CREAT | TRUNC, APPEND | NONBLOCK, "");
}

/// Opens a file of 5 bytes and a new one with these flags. Whatever is written goes to their ends.
#[track_caller]
fn appended_to(test: &str, oflags: i32, fdflags: i32, old_content: &str) {
    let (mut guest, path) = Guest::with_directory(test);
    for (name, old_content) in [("file", old_content), ("new", "")] {
        let fd = guest.open(3, name, oflags, FD_WRITE, fdflags).unwrap();
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), old_content);
        guest.put(32, b"ab");
        guest.put_buffer(32, 2);
        assert_eq!(guest.call("fd_write", [fd.into(), 0, 1, 16]), SUCCESS);
        assert_eq!(guest.call("fd_seek", [fd.into(), 0, 0, 64]), SUCCESS);
        assert_eq!(guest.call("fd_write", [fd.into(), 0, 1, 16]), SUCCESS);
        let content = fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(content, format!("{old_content}abab"));
        assert_eq!(guest.call("fd_fdstat_get", [fd.into(), 64]), SUCCESS);
        assert_eq!(guest.get::<2>(66), [fdflags as u8, 0]);
    }
}

#[test]
fn a_file_can_be_emptied_that_is_only_read() {
    let (mut guest, path) = Guest::with_directory("empty");
    let fd = guest.open(3, "file", TRUNC, FD_READ, 0).unwrap();
    assert_eq!(fs::read(path.join("file")).unwrap(), b"");
    guest.put_buffer(32, 2);
    assert_eq!(guest.call("fd_write", [fd.into(), 0, 1, 16]), BADF);
}

#[test]
fn times_before_1970_do_not_end_the_host() {
    let (mut guest, path) = Guest::with_directory("times");
    let file = fs::File::options().write(true).open(path.join("file")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(5)).unwrap();
    let fd = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    assert_eq!(guest.call("fd_filestat_get", [fd.into(), 64]), SUCCESS);
    assert_eq!(guest.get::<8>(64 + 48), [0; 8]);
}

#[test]
fn errors_of_the_system_are_an_errno() {
    struct Broken;
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    struct Elsewhere;
    impl std::io::Write for Elsewhere {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(18))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(Box::new(WritePipe::new(Broken))).stderr(Box::new(WritePipe::new(Elsewhere)));
    let mut guest = Guest::new(wasi.build());
    guest.put_buffer(32, 1);
    assert_eq!(guest.call("fd_write", [1, 0, 1, 16]), IO);
    assert_eq!(guest.call("fd_write", [2, 0, 1, 16]), XDEV);
    assert_ne!(guest.call("proc_raise", [6]), SUCCESS);
}

#[test]
fn what_is_no_socket_is_none() {
    let (mut guest, _) = Guest::with_directory("sockets");
    let file = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    guest.put_buffer(32, 1);
    for (fd, errno) in [(1, NOTSOCK), (3, NOTSOCK), (file.into(), NOTSOCK), (99, BADF)] {
        assert_eq!(guest.call("sock_shutdown", [fd, 1]), errno);
        assert_eq!(guest.call("sock_accept", [fd, 0, 64]), errno);
        assert_eq!(guest.call("sock_recv", [fd, 0, 1, 0, 16, 20]), errno);
        assert_eq!(guest.call("sock_send", [fd, 0, 1, 0, 16]), errno);
    }
}

#[test]
fn rights_that_are_given_up_are_gone() {
    let (mut guest, _) = Guest::with_directory("rights");
    let fd = guest.open(3, "file", 0, FD_READ | FD_WRITE, 0).unwrap();
    guest.put_buffer(32, 1);
    let (all, _) = guest.rights(fd);
    let expected = FD_READ | FD_WRITE | FD_SEEK | POLL_FD_READWRITE;
    assert_eq!(all & expected, expected);

    guest.give_up(fd, FD_READ, 0);
    assert_eq!(guest.call("fd_read", [fd.into(), 0, 1, 16]), NOTCAPABLE);
    assert_eq!(guest.call("fd_pread", [fd.into(), 0, 1, 0, 16]), NOTCAPABLE);
    assert_eq!(guest.call("fd_write", [fd.into(), 0, 1, 16]), SUCCESS);
    assert_eq!(guest.poll(&[descriptor(1, READ, fd)]), Err(NOTCAPABLE));
    assert_eq!(guest.poll(&[descriptor(1, WRITE, fd)]), Ok(vec![(1, SUCCESS, WRITE)]));
    guest.give_up(fd, FD_SEEK | POLL_FD_READWRITE, 0);
    assert_eq!(guest.call("fd_seek", [fd.into(), 0, 0, 64]), NOTCAPABLE);
    assert_eq!(guest.poll(&[descriptor(1, WRITE, fd)]), Err(NOTCAPABLE));

    // Nobody gets them back, not even with what is left.
    let (left, inheriting) = guest.rights(fd);
    assert_eq!(guest.call("fd_fdstat_set_rights", [fd.into(), all, inheriting]), NOTCAPABLE);
    assert_eq!(guest.call("fd_fdstat_set_rights", [fd.into(), left, FD_READ]), NOTCAPABLE);
    assert_eq!(guest.call("fd_fdstat_set_rights", [fd.into(), -1, 0]), INVAL);
    assert_eq!(guest.call("fd_fdstat_set_rights", [99, 0, 0]), BADF);
    assert_eq!(guest.rights(fd), (left, inheriting));
    assert_eq!(guest.call("fd_write", [fd.into(), 0, 1, 16]), SUCCESS);

    // They are the descriptor's, whatever its number; a new one has all.
    let other = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    assert_eq!(guest.call("fd_renumber", [fd.into(), other.into()]), SUCCESS);
    assert_eq!(guest.call("fd_read", [other.into(), 0, 1, 16]), NOTCAPABLE);
    assert_eq!(guest.call("fd_close", [other.into()]), SUCCESS);
    let new = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    assert_eq!(guest.call("fd_renumber", [new.into(), 0]), SUCCESS);
    assert_eq!(guest.call("fd_read", [0, 0, 1, 16]), SUCCESS);
}

#[test]
fn rights_that_a_directory_gives_up_are_gone_for_what_is_opened_in_it() {
    let (mut guest, path) = Guest::with_directory("inheriting");
    fs::create_dir(path.join("below")).unwrap();
    guest.give_up(3, PATH_CREATE_FILE | PATH_FILESTAT_SET_SIZE, FD_WRITE);
    assert_eq!(guest.open(3, "new", CREAT, FD_READ, 0), Err(NOTCAPABLE));
    assert_eq!(guest.open(3, "file", TRUNC, FD_READ, 0), Err(NOTCAPABLE));
    assert_eq!(guest.open(3, "file", 0, FD_READ | FD_WRITE, 0), Err(NOTCAPABLE));
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "12345");
    let file = guest.open(3, "file", 0, FD_READ, 0).unwrap();
    guest.put_buffer(32, 1);
    assert_eq!(guest.call("fd_read", [file.into(), 0, 1, 16]), SUCCESS);
    assert_eq!(guest.call("fd_write", [file.into(), 0, 1, 16]), NOTCAPABLE);

    // Also further down.
    let below = guest.open(3, "below", 0, 0, 0).unwrap();
    assert_eq!(guest.open(below, "new", CREAT, FD_WRITE, 0), Err(NOTCAPABLE));
    let new = guest.open(below, "new", CREAT, FD_READ, 0).unwrap();
    assert_eq!(guest.call("fd_write", [new.into(), 0, 1, 16]), NOTCAPABLE);
}

#[test]
fn what_a_directory_does_with_another_is_done_with_the_corrected_ones() {
    let (mut guest, path) = Guest::with_directory("rename");
    fs::create_dir(path.join("below")).unwrap();
    let below = guest.open(3, "below", 0, 0, 0).unwrap();
    guest.put(512, b"file");
    assert_eq!(guest.call("path_rename", [3, 512, 4, below.into(), 512, 4]), SUCCESS);
    assert!(path.join("below/file").exists());
}

/// Names of directories, where it matters what else they are taken for.
#[test]
fn a_name_that_ends_in_a_slash_is_that_of_a_directory() {
    #[derive(Clone, Copy, Debug)]
    enum Call {
        Rename,
        Link,
        Symlink,
        Unlink,
    }
    use Call::{Link, Rename, Symlink, Unlink};
    for (case, (call, old, new)) in [
        (Rename, "file", "new/"),
        (Rename, "file", "new//"),
        (Rename, "file", "directory/"),
        (Rename, "file", "file/"),
        (Rename, "file", "to-directory/"),
        (Rename, "file", "directory/new/"),
        (Rename, "file/", "new"),
        (Rename, "to-file", "new/"),
        (Rename, "to-directory", "new/"),
        (Rename, "to-directory/", "new"),
        (Rename, "missing", "new/"),
        (Rename, "directory", "new/"),
        (Rename, "directory/", "new/"),
        (Rename, "directory/", "new"),
        (Rename, "directory", "full/"),
        (Link, "file", "new/"),
        (Link, "file/", "new"),
        (Symlink, "file", "new/"),
        (Unlink, "file/", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut guest, path) = Guest::with_directory(&format!("slash-{case}"));
        let host = path.with_extension("host");
        let _ = fs::remove_dir_all(&host);
        fs::create_dir(&host).unwrap();
        fs::write(host.join("file"), "12345").unwrap();
        for path in [&path, &host] {
            fs::create_dir(path.join("directory")).unwrap();
            fs::create_dir_all(path.join("full/file")).unwrap();
            std::os::unix::fs::symlink("directory", path.join("to-directory")).unwrap();
            std::os::unix::fs::symlink("file", path.join("to-file")).unwrap();
        }
        guest.put(512, old.as_bytes());
        guest.put(640, new.as_bytes());
        let (old_len, new_len) = (old.len() as i64, new.len() as i64);
        let errno = match call {
            Rename => guest.call("path_rename", [3, 512, old_len, 3, 640, new_len]),
            Link => guest.call("path_link", [3, 0, 512, old_len, 3, 640, new_len]),
            Symlink => guest.call("path_symlink", [512, old_len, 3, 640, new_len]),
            Unlink => guest.call("path_unlink_file", [3, 512, old_len]),
        };
        let done = match call {
            Rename => fs::rename(host.join(old), host.join(new)),
            Link => fs::hard_link(host.join(old), host.join(new)),
            Symlink => std::os::unix::fs::symlink(old, host.join(new)),
            Unlink => fs::remove_file(host.join(old)),
        };
        let expected = match done.as_ref().map_err(|error| error.raw_os_error().unwrap()) {
            Ok(()) => SUCCESS,
            Err(2) => NOENT,
            Err(20) => NOTDIR,
            Err(39) => NOTEMPTY,
            Err(_) => panic!("{call:?} {old} {new}: {done:?} on the host"),
        };
        assert_eq!(errno, expected, "{call:?} {old} {new}");
        let listed = |path: &PathBuf| {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
            let mut names: Vec<_> = entries
                .map(|entry| format!("{:?} {:?}", entry.file_name(), entry.file_type().unwrap()))
                .collect();
            names.sort();
            names
        };
        assert_eq!(listed(&path), listed(&host), "{call:?} {old} {new}");
    }
}
