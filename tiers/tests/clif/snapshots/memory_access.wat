;;! show = clif

(module
  (memory 1)
  (memory $other 1)
  (func (param i32) (result i64)
    (i64.store $other offset=8 (local.get 0) (i64.load32_s (local.get 0)))
    (f32.store offset=4294967295 (local.get 0) (f32.const 1.5))
    (memory.fill (local.get 0) (i32.const 0) (memory.size))
    (i64.load8_u offset=3 align=1 (local.get 0))))

;; function u0:0(i64, i32) -> i64 system_v {
;;     region0 = 6 "control"
;;     region1 = 0 "heap"
;;     region2 = 1 "memory definitions"
;;     sig0 = (i64, i32, i64, i32, i64) -> i32 system_v
;;     sig1 = (i64, i32) preserve_all
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v7 -> v1
;; @0000                               v3 = get_stack_pointer.i64
;; @0000                               v4 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v5 = load.i64 notrap aligned region0 v4
;; @0000                               v6 = icmp ult v3, v5
;; @0000                               brif v6, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v41 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig1, v41(v0, v1)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0005                               v8 = uextend.i64 v7
;; @0005                               v9 = load.i64 notrap aligned readonly can_move v0+32
;; @0005                               v10 = iadd v9, v8
;; @0005                               v11 = sload32 user2 little region1 v10
;; @0008                               v12 = uextend.i64 v1
;; @0008                               v13 = load.i64 notrap aligned readonly can_move v0+48
;; @0008                               v14 = load.i64 notrap aligned readonly can_move v13+8
;; @0008                               v15 = load.i64 notrap aligned readonly can_move v14
;; @0008                               v16 = iadd v15, v12
;; @0008                               store user2 little region1 v11, v16+8
;; @000e                               v17 = f32const 0x1.800000p0
;; @0013                               v18 = uextend.i64 v7
;; @0013                               v19 = load.i64 notrap aligned readonly can_move v0+32
;; @0013                               v20 = iadd v19, v18
;; @0013                               v21 = iconst.i64 0xffff_ffff
;; @0013                               v22 = iadd v20, v21  ; v21 = 0xffff_ffff
;; @0013                               store user2 little region1 v17, v22  ; v17 = 0x1.800000p0
;; @001c                               v23 = iconst.i32 0
;; @001e                               v24 = load.i64 notrap aligned readonly can_move v0+40
;; @001e                               v25 = load.i64 notrap aligned region2 v24+8
;; @001e                               v26 = iconst.i64 16
;; @001e                               v27 = ushr v25, v26  ; v26 = 16
;; @001e                               v28 = ireduce.i32 v27
;; @0020                               v29 = uextend.i64 v28
;; @0020                               v30 = uextend.i64 v7
;; @0020                               v31 = iconst.i32 0
;; @0020                               v32 = load.i64 notrap aligned readonly can_move v0+96
;; @0020                               v33 = load.i64 notrap aligned readonly can_move v32+8
;; @0020                               v34 = call_indirect sig0, v33(v0, v31, v30, v23, v29)  ; v31 = 0, v23 = 0
;; @0020                               v35 = iconst.i32 11
;; @0020                               v36 = icmp eq v34, v35  ; v35 = 11
;; @0020                               trapnz v36, user11
;; @0020                               trapnz v34, user2
;; @0025                               v37 = uextend.i64 v7
;; @0025                               v38 = load.i64 notrap aligned readonly can_move v0+32
;; @0025                               v39 = iadd v38, v37
;; @0025                               v40 = uload8.i64 user2 little region1 v39+3
;; @0028                               return v40
;; }
;;
;; Poll 0x0: I32 Item(1)
