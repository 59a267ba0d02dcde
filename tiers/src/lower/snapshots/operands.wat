;; Locals and constants are read where they are; results go straight into locals.
(module
  (func (param i32 i32) (result i32)
    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
    (i32.mul (local.get 0) (local.get 1))))
;; function 0
;;   0 @5   i32_add_si l0 l0 #1
;;   1 @12  i32_mul_ss t0 l0 l1
;;   2 @13  return1 l0 t0
;; end
;; What was read from a local before it is set keeps its value.
(module
  (func (param i32) (result i32 i32)
    local.get 0
    local.get 0
    i32.const 1
    i32.add
    local.set 0
    local.get 0))
;; function 0
;;   0 @8   copy t0 l0
;;   1 @7   i32_add_si l0 l0 #1
;;   2 @12  copy t1 l0
;;   3 @12  return_span l0 t0 2
;; end
;; Constants change sides where the operator allows it.
(module
  (func (param i32 i64) (result i32)
    (i32.add (i32.const 5) (local.get 0))
    (i32.sub (i32.const 5) (local.get 0))
    i32.add
    (i32.lt_s (i32.const 7) (local.get 0))
    i32.add
    (i64.gt_u (local.get 1) (i64.const 0x123456789))
    i32.add))
;; function 0
;;   0 @5   i32_add_si t0 l0 #5
;;   1 @10  copy_imm32 t1 5
;;   2 @10  i32_sub_ss t1 t1 l0
;;   3 @11  i32_add_ss t0 t0 t1
;;   4 @16  i32_gt_s_si t1 l0 #7
;;   5 @17  i32_add_ss t0 t0 t1
;;   6 @26  copy_imm64 t2 #0x123456789
;;   7 @26  i64_lt_u_ss t1 t2 l1
;;   8 @27  i32_add_ss t0 t0 t1
;;   9 @28  return1 l0 t0
;; end
