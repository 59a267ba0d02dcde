;; Elements of an array, fields of a word.
(module
  (memory 1)
  (func (param $base i32) (param $i i32) (result i32)
    (i32.store offset=4
      (i32.add (local.get $base) (i32.shl (local.get $i) (i32.const 2)))
      (local.get $i))
    (i64.store (i32.add (local.get $base) (local.get $i)) (i64.const 7))
    (i32.load offset=8 (i32.add (i32.shl (local.get $i) (i32.const 2)) (local.get $base)))
    (i32.load8_u (i32.add (local.get $base) (local.get $i)))
    i32.add
    (i32.and (i32.shr_u (local.get $i) (i32.const 7)) (i32.const 255))
    i32.add
    (i32.add (i32.mul (local.get $i) (i32.const 24)) (local.get $base))
    i32.add))
;; function 0
;;   0 @11  store32_scaled l0 l1 l1 2 4
;;   1 @18  i32_add_ss t0 l0 l1
;;   2 @21  store64_si t0 #7 0
;;   3 @32  load32_scaled t0 l0 l1 2 8
;;   4 @40  load8_u_sum t1 l0 l1 0
;;   5 @43  i32_add_ss t0 t0 t1
;;   6 @52  i32_shr_u_and t1 l1 7 255
;;   7 @53  i32_add_ss t0 t0 t1
;;   8 @61  i32_mul_add t1 l0 l1 24
;;   9 @62  i32_add_ss t0 t0 t1
;;  10 @63  return1 l0 t0
;; end
;; The result of a sum that a local needs too is not taken back.
(module
  (memory 1)
  (func (param $base i32) (param $i i32) (result i32)
    (i32.load (local.tee $i (i32.add (local.get $base) (local.get $i))))
    local.get $i
    i32.add))
;; function 0
;;   0 @5   i32_add_ss l1 l0 l1
;;   1 @8   load32 t0 l1 0
;;   2 @13  i32_add_ss t0 t0 l1
;;   3 @14  return1 l0 t0
;; end
