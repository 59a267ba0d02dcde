;;! show = clif
;;! settings = optimized

(module
  (memory 1)
  (func (param $address i32) (param $count i32) (result i32)
    (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=16 (local.get $address))))
      (local.set $address (i32.add (local.get $address) (i32.const 4)))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
    (local.get $sum)))

;; function u0:0(i64, i32, i32) -> i32 system_v {
;;     region0 = 6 "control"
;;     region1 = 0 "heap"
;;     sig0 = (i64, i32, i32) preserve_all
;;     sig1 = (i64, i32, i32, i32) preserve_all
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;;                                     v26 -> v1
;;                                     v27 -> v2
;; @0000                               v4 = iconst.i32 0
;;                                     v28 -> v4
;; @0000                               v5 = get_stack_pointer.i64
;; @0000                               v6 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v7 = load.i64 notrap aligned region0 v6
;; @0000                               v8 = icmp ult v5, v7
;; @0000                               brif v8, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v29 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig0, v29(v0, v1, v2)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0003                               jump block4(v1, v2, v4)  ; v4 = 0
;;
;;                                 block4(v11: i32, v12: i32, v13: i32):
;;                                     v15 -> v11
;;                                     v23 -> v12
;;                                     v14 -> v13
;; @0003                               v9 = load.i64 notrap aligned readonly can_move v0+16
;; @0003                               v10 = load.i64 notrap aligned region0 v9+8
;; @0003                               brif v10, block5, block6
;;
;;                                 block5 cold:
;; @0003                               v30 = load.i64 notrap aligned v0+24
;; @0003                               call_indirect sig1, v30(v0, v11, v12, v13)
;; @0003                               jump block6
;;
;;                                 block6:
;; @0009                               v16 = uextend.i64 v11
;; @0009                               v17 = load.i64 notrap aligned readonly can_move v0+32
;; @0009                               v18 = iadd v17, v16
;; @0009                               v19 = load.i32 user2 little region1 v18+16
;; @000c                               v20 = iadd.i32 v13, v19
;; @0011                               v21 = iconst.i32 4
;; @0013                               v22 = iadd.i32 v15, v21  ; v21 = 4
;; @0018                               v24 = iconst.i32 1
;; @001a                               v25 = isub.i32 v12, v24  ; v24 = 1
;; @001d                               brif v25, block4(v22, v25, v20), block7
;;
;;                                 block7:
;; @0022                               return v20
;; }
;;
;; Poll 0x0: I32 Item(1), I32 Item(2), I32 Const(0)
;; Poll 0x3: I32 Item(1), I32 Item(2), I32 Item(3)
