;; Prints the Mandelbrot set as text: one hot loop nest, entered by on-stack replacement.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; 0: iovec (pointer, length); 8: bytes written; 16: the shades; 64: a line
  (data (i32.const 16) " .:-=+*#%@")

  (func $iterations (param $x f64) (param $y f64) (param $limit i32) (result i32)
    (local $a f64) (local $b f64) (local $aa f64) (local $bb f64) (local $n i32)
    (loop $again
      (local.set $aa (f64.mul (local.get $a) (local.get $a)))
      (local.set $bb (f64.mul (local.get $b) (local.get $b)))
      (if (f64.le (f64.add (local.get $aa) (local.get $bb)) (f64.const 4))
        (then
          (local.set $b
            (f64.add (f64.mul (f64.const 2) (f64.mul (local.get $a) (local.get $b)))
                     (local.get $y)))
          (local.set $a (f64.add (f64.sub (local.get $aa) (local.get $bb)) (local.get $x)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $n) (local.get $limit))))))
    (local.get $n))

  (func (export "_start")
    (local $row i32) (local $column i32) (local $n i32)
    (loop $rows
      (local.set $column (i32.const 0))
      (loop $columns
        (local.set $n
          (call $iterations
            (f64.sub (f64.mul (f64.convert_i32_s (local.get $column)) (f64.const 0.035))
                     (f64.const 2.2))
            (f64.sub (f64.mul (f64.convert_i32_s (local.get $row)) (f64.const 0.075))
                     (f64.const 1.2))
            (i32.const 100000)))
        ;; shade: the iterations' bits, at most 9
        (local.set $n (i32.sub (i32.const 32) (i32.clz (local.get $n))))
        (if (i32.gt_u (local.get $n) (i32.const 9)) (then (local.set $n (i32.const 9))))
        (i32.store8 offset=64 (local.get $column)
          (i32.load8_u offset=16 (local.get $n)))
        (local.set $column (i32.add (local.get $column) (i32.const 1)))
        (br_if $columns (i32.lt_u (local.get $column) (i32.const 84))))
      (i32.store8 offset=64 (local.get $column) (i32.const 10))
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 85))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $row) (i32.const 33))))))
