;; A counted loop: the comparison is fused with the branch.
(module
  (func (param $n i32) (result i32) (local $i i32) (local $s i32)
    (loop $l
      (local.set $s (i32.add (local.get $s) (local.get $i)))
      (br_if $l (i32.lt_s
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    local.get $s))
;; function 0
;;   0 @3   loop_header 0 3 0
;;   1 @9   i32_add_ss l2 l2 l1
;;   2 @16  i32_add_si l1 l1 #1
;;   3 @22  br_if_i32_lt_s_ss l1 l0 ->0
;;   4 @27  return1 l0 l2
;; end
;; A negated condition, a value taken out of a block, a table.
(module
  (func (param i32) (result i32)
    (block $b (result i32)
      (if (i32.eqz (i32.ge_u (local.get 0) (i32.const 3)))
        (then (br $b (i32.const 9))))
      (block $c
        (br_table $c 1 $c (i32.const 4) (local.get 0)))
      (local.get 0))))
;; function 0
;;   0 @9   br_if_i32_ge_u_si l0 #3 ->3
;;   1 @13  copy_imm32 t0 9
;;   2 @13  br ->7
;;   3 @22  br_table l0 3 ->6 ->4 ->6
;;   4 @22  copy_imm32 t0 4
;;   5 @22  br ->7
;;   6 @30  copy t0 l0
;;   7 @31  return1 l0 t0
;; end
;; Calls: arguments are placed where the callee expects them.
(module
  (func $g (param i32 i32) (result i32 i32) local.get 1 local.get 0)
  (func (param i32) (result i32)
    (i32.const 8)
    (call $g (local.get 0) (i32.mul (local.get 0) (local.get 0)))
    drop
    i32.add))
;; function 0
;;   0 @5   copy2 t0 l1 l0
;;   1 @5   return_span l0 t0 2
;; function 1
;;   0 @9   i32_mul_ss t2 l0 l0
;;   1 @10  copy t1 l0
;;   2 @10  call 0 t1
;;   3 @13  i32_add_si t0 t1 #8
;;   4 @14  return1 l0 t0
;; end
;; A value of a block that is branched to with more on the stack.
(module
  (func (param i32 i32) (result i32)
    (block $b (result i32 i32)
      (i32.const 1)
      (local.get 0)
      (local.get 1)
      (br_if $b (local.get 0))
      drop
      drop
      (local.get 1))
    i32.add))
;; function 0
;;   0 @11  br_if_eqz l0 ->3
;;   1 @11  copy2 t0 l0 l1
;;   2 @11  br ->5
;;   3 @17  copy_imm32 t0 1
;;   4 @17  copy t1 l1
;;   5 @18  i32_add_ss t0 t0 t1
;;   6 @19  return1 l0 t0
;; end
