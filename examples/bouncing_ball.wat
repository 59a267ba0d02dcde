;; A ball between two walls. Run it with `midair watch examples/bouncing_ball.wat`, and edit this file.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  ;; 0: what fd_write writes; 16: what poll_oneoff waits for; 64: what it says; 256: the line.
  (memory (export "memory") 1)

  (global $frame (mut i32) (i32.const 0))
  (global $x (mut i32) (i32.const 3))
  (global $dx (mut i32) (i32.const 1))

  ;; What the ball looks like.
  (func $ball (result i32)
    (i32.const 111)) ;; o

  ;; Where the ball goes.
  (func $advance
    (global.set $x (i32.add (global.get $x) (global.get $dx)))
    (if (i32.ge_s (global.get $x) (i32.const 30))
      (then (global.set $x (i32.const 30)) (global.set $dx (i32.const -1))))
    (if (i32.le_s (global.get $x) (i32.const 0))
      (then (global.set $x (i32.const 0)) (global.set $dx (i32.const 1)))))

  ;; One digit of the frame's number.
  (func $digit (param $at i32) (param $of i32)
    (i32.store8 (local.get $at)
      (i32.add (i32.const 48)
        (i32.rem_u (i32.div_u (global.get $frame) (local.get $of)) (i32.const 10)))))

  (func $draw
    (memory.fill (i32.const 256) (i32.const 32) (i32.const 38))
    (call $digit (i32.const 256) (i32.const 1000))
    (call $digit (i32.const 257) (i32.const 100))
    (call $digit (i32.const 258) (i32.const 10))
    (call $digit (i32.const 259) (i32.const 1))
    (i32.store8 (i32.const 261) (i32.const 124)) ;; |
    (i32.store8 (i32.const 293) (i32.const 124))
    (i32.store8 (i32.add (i32.const 262) (global.get $x)) (call $ball))
    (i32.store8 (i32.const 294) (i32.const 10))
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.const 39))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $sleep (param $milliseconds i64)
    (i64.store (i32.const 40) (i64.mul (local.get $milliseconds) (i64.const 1000000)))
    (i32.store (i32.const 32) (i32.const 1))
    (drop (call $poll_oneoff (i32.const 16) (i32.const 64) (i32.const 1) (i32.const 8))))

  (func (export "_start")
    (loop $for_ever
      (call $advance)
      (call $draw)
      (call $sleep (i64.const 50))
      (global.set $frame (i32.add (global.get $frame) (i32.const 1)))
      (br $for_ever))))
