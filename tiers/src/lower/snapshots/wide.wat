;; Slots are far from 8 on: of 10 locals the first two, and operands above the lowest.
(module
  (memory 1)
  (func (param i32 i32) (result i32) (local i32 i32 i32 i32 i32 i32 i32 i32)
    (local.set 1 (i32.add (local.get 0) (local.get 1)))
    (if (i32.lt_u (local.get 1) (local.get 9)) (then (local.set 9 (i32.const 7))))
    (local.set 0 (i32.mul (local.get 9) (i32.const 3)))
    (i32.store offset=4 (local.get 1) (local.get 0))
    (i32.load (i32.add (local.get 0) (local.get 1))))
)
;; function 0
;;   0 @7   copy_far x1 l0
;;   1 @7   copy_far x2 l1
;;   2 @7   i32_add_ss x0 x1 x2
;;   3 @8   copy_far l1 x0
;;   4 @15  copy_far x1 l1
;;   5 @15  br_if_i32_le_u_ss l9 x1 ->7
;;   6 @19  copy_imm32 l9 7
;;   7 @26  i32_mul_si x0 l9 #3
;;   8 @27  copy_far l0 x0
;;   9 @33  copy_far x0 l1
;;  10 @33  copy_far x1 l0
;;  11 @33  store32 x0 x1 4
;;  12 @41  copy_far x1 l0
;;  13 @41  copy_far x2 l1
;;  14 @41  load32_sum t0 x1 x2 0
;;  15 @44  return_span l0 t0 1
;; end
(module
  (table 1 funcref)
  (type $t (func (param i32 i32) (result i32)))
  (func $f (type $t)
    (i32.sub (local.get 1) (local.get 0)))
  (func (param i32) (result i32 i32) (local i32 i32 i32 i32 i32 i32 i32 i32)
    (i32.popcnt (local.get 0))
    (i32.clz (local.get 8))
    (call $f (i32.ctz (local.get 0)) (i32.const 5))
    (select (i32.const 1) (local.get 0))
    (loop (param i32 i32) (result i32 i32)
      (call_indirect (type $t) (local.get 1))
      (local.get 0)))
)
;; function 0
;;   0 @5   i32_sub_ss t0 l1 l0
;;   1 @6   return1 l0 t0
;; function 1
;;   0 @5   copy_far x1 l0
;;   1 @5   i32_popcnt t0 x1
;;   2 @8   i32_clz x0 l8
;;   3 @8   copy_far t1 x0
;;   4 @11  copy_far x1 l0
;;   5 @11  i32_ctz x0 x1
;;   6 @11  copy_far t2 x0
;;   7 @14  copy_imm32 x0 5
;;   8 @14  copy_far t3 x0
;;   9 @14  call_far 0 t2
;;  10 @20  copy_imm32 x0 1
;;  11 @20  copy_far t3 x0
;;  12 @20  copy_far x1 l0
;;  13 @20  copy_far x2 t2
;;  14 @20  copy_far x3 t3
;;  15 @20  select x0 x1 x2 x3
;;  16 @20  copy_far t2 x0
;;  17 @21  loop_header 40 21 3
;;  18 @25  call_indirect_far l1 0 0 0 t1
;;  19 @31  copy_far t2 l0
;;  20 @31  return_span l0 t1 2
;; end
;; Far vectors go through two scratch slots for each operand.
(module
  (func (param v128 i32 v128) (result v128)
    (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (local.set 2 (v128.bitselect (local.get 0) (local.get 2) (i8x16.shl (local.get 0) (local.get 1))))
    (local.set 0 (i32x4.replace_lane 2 (local.get 2) (local.get 12)))
    (local.get 0))
)
;; function 0
;;   0 @11  copy_far x2 l0
;;   1 @11  copy_far x3 l1
;;   2 @11  copy_far x4 l2
;;   3 @11  i8x16_shl x0.. x2.. x4
;;   4 @11  copy_far t4 x0
;;   5 @11  copy_far t5 x1
;;   6 @13  copy_far x2 l0
;;   7 @13  copy_far x3 l1
;;   8 @13  copy_far x4 l3
;;   9 @13  copy_far x5 l4
;;  10 @13  copy_far x6 t4
;;  11 @13  copy_far x7 t5
;;  12 @13  v128_bitselect x0.. x2.. x4.. x6..
;;  13 @15  copy_far l3 x0
;;  14 @15  copy_far l4 x1
;;  15 @21  copy_far x2 l3
;;  16 @21  copy_far x3 l4
;;  17 @21  i32x4_replace_lane x0.. x2.. l14 2
;;  18 @24  copy_far l0 x0
;;  19 @24  copy_far l1 x1
;;  20 @28  copy_far t0 l0
;;  21 @28  copy_far t1 l1
;;  22 @28  return_span l0 t0 2
;; end
