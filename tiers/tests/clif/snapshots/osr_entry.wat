;;! show = clif
;;! loop = 1

(; The inner of two loops, with an operand below the outer one. The code before the inner loop is
reachable through the outer one. ;)
(module
  (func (param $n i32) (param $dead f64) (result i32)
    (local $i i32) (local $sum i32)
    (local.get $n)
    (loop $outer
      (local.set $i (local.get $n))
      (loop $inner
        (local.set $sum (i32.add (local.get $sum) (local.get $i)))
        (br_if $inner (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $sum))))

;; function u0:0(i64, i32, f64) -> i32 system_v {
;;     region0 = 6 "control"
;;     region1 = 8 "buffers"
;;     sig0 = (i64, i32, i32, i32) preserve_all
;;     sig1 = (i64, i32, i32, i32, i32) preserve_all
;;
;;                                 block0(v0: i64, v1: i32, v2: f64):
;; @0000                               jump block2
;;
;;                                 block3:
;; @0000                               v4 = iconst.i32 0
;; @0000                               v5 = f64const 0.0
;; @0000                               v6 = iconst.i32 0
;; @0005                               jump block4(v4, v6, v4)  ; v4 = 0, v6 = 0, v4 = 0
;;
;;                                 block4(v9: i32, v10: i32, v11: i32):
;;                                     v12 -> v9
;;                                     v31 -> v10
;;                                     v32 -> v11
;; @0005                               v7 = load.i64 notrap aligned readonly can_move v0+16
;; @0005                               v8 = load.i64 notrap aligned region0 v7+8
;; @0005                               brif v8, block5, block6
;;
;;                                 block5 cold:
;; @0005                               v37 = load.i64 notrap aligned v0+24
;; @0005                               call_indirect sig0, v37(v0, v9, v10, v11)
;; @0005                               jump block6
;;
;;                                 block6:
;; @000b                               jump block7(v12, v9, v10, v11)
;;
;;                                 block2:
;; @000b                               v13 = load.i64 notrap aligned readonly can_move v0+16
;; @000b                               v14 = load.i64 notrap aligned region1 v13+32
;; @000b                               v15 = load.i32 notrap aligned region1 v14
;; @000b                               v16 = load.i32 notrap aligned region1 v14+16
;; @000b                               v17 = load.i32 notrap aligned region1 v14+24
;; @000b                               v18 = load.i32 notrap aligned region1 v14+32
;; @000b                               jump block7(v15, v16, v17, v18)
;;
;;                                 block7(v21: i32, v22: i32, v23: i32, v24: i32):
;;                                     v30 -> v21
;;                                     v26 -> v22
;;                                     v25 -> v23
;;                                     v33 -> v24
;; @000b                               v19 = load.i64 notrap aligned readonly can_move v0+16
;; @000b                               v20 = load.i64 notrap aligned region0 v19+8
;; @000b                               brif v20, block8, block9
;;
;;                                 block8 cold:
;; @000b                               v38 = load.i64 notrap aligned v0+24
;; @000b                               call_indirect sig1, v38(v0, v21, v22, v23, v24)
;; @000b                               jump block9
;;
;;                                 block9:
;; @0011                               v27 = iadd.i32 v23, v22
;; @0016                               v28 = iconst.i32 1
;; @0018                               v29 = isub.i32 v26, v28  ; v28 = 1
;; @001b                               brif v29, block7(v21, v29, v27, v24), block10
;;
;;                                 block10:
;; @0020                               v34 = iconst.i32 1
;; @0022                               v35 = isub.i32 v30, v34  ; v34 = 1
;; @0025                               brif v35, block4(v35, v27, v33), block11
;;
;;                                 block11:
;; @002a                               v36 = iadd.i32 v33, v27
;; @002b                               return v36
;; }
;;
;; Poll 0x5: I32 Item(1), F64 Dead, I32 Dead, I32 Item(2), I32 Item(3)
;; Poll 0xb: I32 Item(1), F64 Dead, I32 Item(2), I32 Item(3), I32 Item(4)
