//! Live coding: a bouncing ball that is edited while it bounces.
//!
//! The program is `examples/bouncing_ball.wat`, which never returns; it can be edited by hand under
//! `midair watch` too. Here the edits are made by this example, so that it can check that
//!
//! * the ball goes on where it was at each edit, and no frame of the animation is lost or counted twice;
//! * edits add functions and globals, change a function's type with all its callers, and change the endless
//!   loop that is on the stack all the time;
//! * an edit that cannot be applied says why, and changes nothing.
//!
//! Run with `cargo run --release --example live_coding`.

use anyhow::{Context as _, Result, ensure};
use midair::{Caller, Engine, Extern, Linker, Module, ModuleRefused, Store};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const PROGRAM: &str = include_str!("bouncing_ball.wat");

/// An edit: what is replaced by what.
type Edit = (&'static str, &'static str);

const ANOTHER_BALL: &[Edit] = &[("(i32.const 111)) ;; o", "(i32.const 64)) ;; @")];

const FASTER: &[Edit] = &[
    ("  (func $advance\n", "  (global $speed i32 (i32.const 3))\n\n  (func $advance\n"),
    (
        "(global.set $x (i32.add (global.get $x) (global.get $dx)))",
        "(global.set $x (i32.add (global.get $x) (call $velocity)))",
    ),
    (
        "  (func $draw\n",
        "  (func $velocity (result i32)\n    (i32.mul (global.get $dx) (global.get $speed)))\n\n  (func $draw\n",
    ),
];

const BALLS_IN_TURN: &[Edit] = &[
    ("(func $ball (result i32)", "(func $ball (param $frame i32) (result i32)"),
    (
        "(i32.const 64)) ;; @",
        "(i32.add (i32.const 97) (i32.rem_u (local.get $frame) (i32.const 26))))",
    ),
    ("(call $ball)", "(call $ball (global.get $frame))"),
];

const A_TITLE: &[Edit] = &[(
    "(memory (export \"memory\") 1)",
    "(memory (export \"memory\") 1)\n  (data (i32.const 512) \"ball\")",
)];

const AN_END: &[Edit] = &[("      (br $for_ever)", "      (br_if $for_ever (i32.const 0))")];

fn main() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, PROGRAM)?;
    let (sender, frames) = channel();
    let player = std::thread::spawn({
        let module = module.clone();
        move || play(&module, sender)
    });

    let mut show = Show { frames, last: None };
    let mut source = PROGRAM.to_owned();
    show.watch(10, |ball| ball == 'o', 1)?;
    edit(&module, &mut source, ANOTHER_BALL)?;
    show.watch(10, |ball| ball == '@', 1)?;
    edit(&module, &mut source, FASTER)?;
    show.watch(12, |ball| ball == '@', 3)?;

    let error = edit(&module, &mut source.clone(), A_TITLE).err().context("data is added")?;
    ensure!(error.is::<ModuleRefused>(), "unexpected: {error}");
    println!("-- {error}");
    show.watch(4, |ball| ball == '@', 3)?;

    edit(&module, &mut source, BALLS_IN_TURN)?;
    show.watch(8, |ball| ball.is_ascii_lowercase(), 3)?;
    edit(&module, &mut source, AN_END)?;
    player.join().expect("the program does not panic")?;
    while show.frame(3).is_ok() {}

    let last = show.last.context("nothing was shown")?;
    println!(
        "the loop that was on the stack through all edits has ended, at frame {}: no frame was lost, and the \
         ball never jumped",
        last.number
    );
    Ok(())
}

/// Makes an edit, and brings the running program up to it.
fn edit(module: &Module, source: &mut String, edits: &[Edit]) -> Result<()> {
    for (from, to) in edits {
        ensure!(source.contains(from), "nothing to edit: {from}");
        *source = source.replace(from, to);
    }
    let applied = module.update().module(&*source)?.apply()?;
    let summary = applied.summary.as_ref().context("it is a new module")?;
    println!("-- {summary}; longest pause {:.1?}", applied.longest_pause);
    Ok(())
}

/// Runs the program; what it writes goes to `lines`.
fn play(module: &Module, lines: Sender<String>) -> Result<()> {
    let mut linker = Linker::new(module.engine());
    let wasi = "wasi_snapshot_preview1";
    linker.func_wrap(
        wasi,
        "fd_write",
        move |mut caller: Caller<'_, ()>, _: i32, _: i32, _: i32, _: i32| -> Result<i32> {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let memory = memory.context("the program exports its memory")?;
            let mut line = [0; 39];
            memory.read(&mut caller, 256, &mut line)?;
            // When nobody looks any more, the program is about to end.
            let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
            Ok(0)
        },
    )?;
    linker.func_wrap(wasi, "poll_oneoff", |_: i32, _: i32, _: i32, _: i32| {
        std::thread::sleep(Duration::from_millis(5));
        0
    })?;
    let mut store = Store::new(module.engine(), ());
    let instance = linker.instantiate(&mut store, module)?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
}

/// A frame of the animation.
#[derive(Clone, Copy)]
struct Frame {
    number: i32,
    ball: char,
    x: i32,
}

/// What the program shows.
struct Show {
    frames: Receiver<String>,
    last: Option<Frame>,
}

impl Show {
    /// The next frame, in which the ball has moved by `speed` or less since the last one.
    fn frame(&mut self, speed: i32) -> Result<Frame> {
        let line = self.frames.recv_timeout(Duration::from_secs(20)).context("no more frames")?;
        print!("{line}");
        let (number, walls) = line.split_once(" |").context("a line has a number and walls")?;
        let number: i32 = number.parse()?;
        let x = walls.find(|c: char| c != ' ').context("there is a ball")?;
        let ball = walls[x..].chars().next().context("there is a ball")?;
        let frame = Frame { number, ball, x: x as i32 };
        if let Some(last) = self.last {
            ensure!(number == last.number + 1, "frame {} is not the next one", number);
            ensure!((frame.x - last.x).abs() <= speed, "the ball has jumped");
        }
        self.last = Some(frame);
        Ok(frame)
    }

    /// Looks at frames, until so many in a row have such a ball.
    fn watch(&mut self, count: usize, ball: impl Fn(char) -> bool, speed: i32) -> Result<()> {
        let mut seen = 0;
        for _ in 0..10 * count {
            // The first frames may have been drawn before the edit.
            let frame = self.frame(speed)?;
            seen = if ball(frame.ball) { seen + 1 } else { 0 };
            if seen == count {
                return Ok(());
            }
        }
        anyhow::bail!("the ball does not look as it should")
    }
}
