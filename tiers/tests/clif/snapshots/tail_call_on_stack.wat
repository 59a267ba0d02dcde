(module
  (func (param i32 i64 i64 i64 i64 i32 f32) (result i32)
    (if (local.get 0)
      (then (return_call $in_place (local.get 5) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (local.get 0))))
    (return_call $more (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
      (local.get 6) (v128.const i64x2 1 2) (local.get 5) (local.get 1)))
  (func $in_place (param i32 i64 i64 i64 i64 i32) (result i32) (local.get 0))
  (func $more (param i32 i64 i64 i64 i64 f32 v128 i32 i64) (result i32) (local.get 0)))

;; function u0:0(i64, i32, i64, i64, i64, i64, f32) -> i32 tail {
;;     region0 = 6 "control"
;;     region1 = 10 "arguments"
;;     region2 = 5 "entries"
;;     region3 = 8 "buffers"
;;     sig0 = (i64, i32, i64, i64, i64, i64) -> i32 tail
;;     sig1 = (i64, i32, i64, i64, i64, i64, f32, i8x16) -> i32 tail
;;     sig2 = (i64, i32, i64, i32, f32) preserve_all
;;     const0 = 0x00000000000000020000000000000001
;;
;;                                 block0(v0: i64, v1: i32, v2: i64, v3: i64, v4: i64, v5: i64, v6: f32):
;;                                     v16 -> v1
;;                                     v30 -> v2
;;                                     v28 -> v6
;; @0000                               v8 = get_stack_pointer.i64
;; @0000                               v9 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v10 = load.i64 notrap aligned region0 v9
;; @0000                               v11 = icmp ult v8, v10
;; @0000                               brif v11, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v12 = get_frame_pointer.i64
;; @0000                               v13 = load.i32 notrap aligned region1 v12+16
;; @0000                               v49 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig2, v49(v0, v1, v2, v13, v6)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0000                               v14 = get_frame_pointer.i64
;; @0000                               v15 = load.i32 notrap aligned region1 v14+16
;; @0003                               brif.i32 v1, block5, block6
;;
;;                                 block5:
;; @0007                               v17 = iconst.i64 1
;; @0009                               v18 = iconst.i64 2
;; @000b                               v19 = iconst.i64 3
;; @000d                               v20 = iconst.i64 4
;; @0011                               v21 = load.i64 notrap aligned readonly can_move v0+72
;; @0011                               v22 = load.i64 notrap aligned region2 v21+40
;; @0011                               v23 = get_frame_pointer.i64
;; @0011                               store.i32 notrap aligned region1 v16, v23+16
;; @0011                               return_call_indirect sig0, v22(v0, v15, v17, v18, v19, v20)  ; v17 = 1, v18 = 2, v19 = 3, v20 = 4
;;
;;                                 block6:
;; @0016                               v24 = iconst.i64 1
;; @0018                               v25 = iconst.i64 2
;; @001a                               v26 = iconst.i64 3
;; @001c                               v27 = iconst.i64 4
;; @0020                               v29 = vconst.i8x16 const0
;; @0036                               v31 = load.i64 notrap aligned readonly can_move v0+72
;; @0036                               v32 = load.i64 notrap aligned region2 v31+80
;; @0036                               v33 = load.i64 notrap aligned readonly can_move v0+96
;; @0036                               v34 = load.i64 notrap aligned readonly can_move v33+112
;; @0036                               v35 = get_frame_pointer.i64
;; @0036                               v36 = load.i64 notrap aligned region1 v35
;; @0036                               v37 = load.i64 notrap aligned region1 v35+8
;; @0036                               v38 = icmp eq v37, v34
;; @0036                               v39 = isub v36, v35
;; @0036                               v40 = iconst.i64 32
;; @0036                               v41 = icmp uge v39, v40  ; v40 = 32
;; @0036                               v42 = band v38, v41
;; @0036                               brif v42, block7, block8
;;
;;                                 block8 cold:
;; @0036                               v43 = load.i64 notrap aligned readonly can_move v0+16
;; @0036                               v44 = load.i64 notrap aligned region3 v43+40
;; @0036                               v45 = iconst.i64 2
;; @0036                               store.i64 notrap aligned region3 v32, v44
;; @0036                               store notrap aligned region3 v45, v44+8  ; v45 = 2
;; @0036                               store.i32 notrap aligned region3 v15, v44+16
;; @0036                               store.i64 notrap aligned region3 v2, v44+24
;; @0036                               v46 = load.i64 notrap aligned readonly can_move v0+96
;; @0036                               v47 = load.i64 notrap aligned readonly can_move v46+104
;; @0036                               return_call_indirect sig1, v47(v0, v16, v24, v25, v26, v27, v6, v29)  ; v24 = 1, v25 = 2, v26 = 3, v27 = 4, v29 = const0
;;
;;                                 block7:
;; @0036                               v48 = get_frame_pointer.i64
;; @0036                               store.i32 notrap aligned region1 v15, v48+16
;; @0036                               store.i64 notrap aligned region1 v2, v48+24
;; @0036                               return_call_indirect.i64 sig1, v32(v0, v16, v24, v25, v26, v27, v6, v29)  ; v24 = 1, v25 = 2, v26 = 3, v27 = 4, v29 = const0
;; }
;;
;; Poll 0x0: I32 Item(1), I64 Item(2), I64 Dead, I64 Dead, I64 Dead, I32 Item(3), F32 Item(4)
