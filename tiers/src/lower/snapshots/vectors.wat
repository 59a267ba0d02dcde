;; A vector takes two slots: locals behind one move up.
(module
  (memory 1)
  (global (mut v128) (v128.const i64x2 1 2))
  (func (param i32 v128 i64) (result v128) (local f32 v128)
    (local.set 4 (i32x4.add (local.get 1) (v128.load offset=8 (local.get 0))))
    (drop (local.get 4))
    (drop (local.get 2))
    (global.set 0 (local.get 4))
    (select
      (f32x4.mul (local.get 4) (f32x4.splat (local.get 3)))
      (v128.const i64x2 3 4)
      (i8x16.all_true (local.get 1))))
)
;; function 0
;;   0 @9   v128_load t2.. l0 8
;;   1 @13  i32x4_add l5.. l1.. t2..
;;   2 @26  v128_global_set l5.. 0
;;   3 @32  i32x4_splat t2.. l4
;;   4 @34  f32x4_mul t0.. l5.. t2..
;;   5 @57  i8x16_all_true t4 l1..
;;   6 @59  v128_const t2.. #0x3 #0x4
;;   7 @59  v128_select t0.. t4 t0.. t2..
;;   8 @60  return_span l0 t0 2
;; end
;; What still equals a vector is saved, both halves, before it is set; what is computed goes straight into the local.
(module
  (func (param v128 i32) (result v128 i32) (local v128)
    (local.get 0)
    (local.get 1)
    (local.set 0 (v128.not (local.get 0)))
    (local.set 2 (local.get 0))
    (local.set 0 (v128.const i64x2 5 -1))
    (v128.store8_lane 3 (local.get 1) (local.tee 2 (i16x8.shl (local.get 2) (local.get 1)))))
  (memory 1)
)
;; function 0
;;   0 @11  copy t0 l0
;;   1 @11  copy t1 l1
;;   2 @9   v128_not l0.. l0..
;;   3 @15  v128_copy l3.. l0..
;;   4 @35  v128_const l0.. #0x5 #0xffffffffffffffff
;;   5 @43  i16x8_shl l3.. l3.. l2
;;   6 @48  v128_store8_lane l2 l3.. 0 3
;;   7 @53  copy t2 l2
;;   8 @53  return_span l0 t0 3
;; end
;; Calls and blocks take vectors as two operands.
(module
  (func (param v128 i64 v128) (result i64 v128)
    (call 0 (local.get 0) (local.get 1) (local.get 2))
    (if (param i64 v128) (result i64 v128) (i64.eqz (local.get 1))
      (then (drop) (local.get 0))
      (else (v128.not)))
    (block (param v128) (result v128)
      (br_if 0 (i32.wrap_i64 (local.get 1)))
      (local.set 0)
      (local.get 2)))
)
;; function 0
;;   0 @7   copy2 t0 l0 l1
;;   1 @7   copy2 t2 l2 l3
;;   2 @7   copy t4 l4
;;   3 @7   call 0 t0
;;   4 @12  br_if_i64_ne_si l2 #0 ->7
;;   5 @17  copy2 t1 l0 l1
;;   6 @17  br ->8
;;   7 @18  v128_not t1.. t1..
;;   8 @25  i32_wrap_i64 t3 l2
;;   9 @26  br_if_nez t3 ->12
;;  10 @28  v128_copy l0.. t1..
;;  11 @32  copy2 t1 l3 l4
;;  12 @33  return_span l0 t0 3
;; end
