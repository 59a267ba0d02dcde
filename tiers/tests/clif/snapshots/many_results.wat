;;! show = clif
;;! function = 1

(module
  (func $three (param f32 i32 i64) (result f32 i32 i64 i64)
    (local.get 0) (local.get 1) (local.get 2) (i64.const 4))
  (func (param f32 i32 i64) (result f32 i32 i64 i64)
    (call $three (local.get 0) (local.get 1) (local.get 2))))

;; function u0:1(i64, f32, i32, i64) system_v {
;;     region0 = 6 "control"
;;     region1 = 5 "entries"
;;     region2 = 8 "buffers"
;;     sig0 = (i64, f32, i32, i64) system_v
;;     sig1 = (i64, f32, i32, i64) preserve_all
;;
;;                                 block0(v0: i64, v1: f32, v2: i32, v3: i64):
;;                                     v12 -> v1
;;                                     v13 -> v2
;;                                     v14 -> v3
;; @0000                               v8 = get_stack_pointer.i64
;; @0000                               v9 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v10 = load.i64 notrap aligned region0 v9
;; @0000                               v11 = icmp ult v8, v10
;; @0000                               brif v11, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v28 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig1, v28(v0, v1, v2, v3)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0007                               v15 = load.i64 notrap aligned readonly can_move v0+72
;; @0007                               v16 = load.i64 notrap aligned region1 v15
;; @0007                               try_call_indirect v16(v0, v1, v2, v3), sig0, block4, [ context v0 ]
;;
;;                                 block4:
;; @0007                               v17 = load.i64 notrap aligned readonly can_move v0+16
;; @0007                               v18 = load.i64 notrap aligned region2 v17+40
;; @0007                               v19 = load.f32 notrap aligned region2 v18
;; @0007                               v20 = load.i32 notrap aligned region2 v18+8
;; @0007                               v21 = load.i64 notrap aligned region2 v18+16
;; @0007                               v22 = load.i64 notrap aligned region2 v18+24
;; @0009                               v23 = load.i64 notrap aligned readonly can_move v0+16
;; @0009                               v24 = load.i64 notrap aligned region2 v23+40
;; @0009                               v25 = bitcast.i32 v19
;; @0009                               v26 = uextend.i64 v25
;; @0009                               store notrap aligned region2 v26, v24
;; @0009                               v27 = uextend.i64 v20
;; @0009                               store notrap aligned region2 v27, v24+8
;; @0009                               store notrap aligned region2 v21, v24+16
;; @0009                               store notrap aligned region2 v22, v24+24
;; @0009                               return
;; }
;;
;; Poll 0x0: F32 Item(1), I32 Item(2), I64 Item(3)
;; Call 0x7: F32 Dead, I32 Dead, I64 Dead
