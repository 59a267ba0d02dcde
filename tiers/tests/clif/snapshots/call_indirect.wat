;;! show = clif

(module
  (type $t (func (param i32) (result i32)))
  (table 10 20 funcref)
  (func (param i32 i32) (result i32)
    (call_indirect (type $t) (local.get 0) (local.get 1))))

;; function u0:0(i64, i32, i32) -> i32 system_v {
;;     region0 = 6 "control"
;;     region1 = 3 "table definitions"
;;     region2 = 2 "table elements"
;;     region3 = 5 "entries"
;;     sig0 = (i64, i32) -> i32 system_v
;;     sig1 = (i64, i32, i32) preserve_all
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;;                                     v8 -> v1
;;                                     v9 -> v2
;; @0000                               v4 = get_stack_pointer.i64
;; @0000                               v5 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v6 = load.i64 notrap aligned region0 v5
;; @0000                               v7 = icmp ult v4, v6
;; @0000                               brif v7, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v30 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig1, v30(v0, v1, v2)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0005                               v10 = uextend.i64 v2
;; @0005                               v11 = load.i64 notrap aligned readonly can_move v0+56
;; @0005                               v12 = load.i64 notrap aligned readonly can_move v11
;; @0005                               v13 = load.i64 notrap aligned region1 v12+8
;; @0005                               v14 = icmp uge v10, v13
;; @0005                               trapnz v14, user3
;; @0005                               v15 = load.i64 notrap aligned readonly can_move v0+56
;; @0005                               v16 = load.i64 notrap aligned readonly can_move v15
;; @0005                               v17 = load.i64 notrap aligned region1 v16
;; @0005                               v18 = iconst.i64 3
;; @0005                               v19 = ishl v10, v18  ; v18 = 3
;; @0005                               v20 = iadd v17, v19
;; @0005                               v21 = load.i64 notrap aligned region2 v20
;; @0005                               v22 = load.i32 user4 aligned readonly v21+16
;; @0005                               v23 = load.i64 notrap aligned readonly can_move v0+88
;; @0005                               v24 = load.i32 notrap aligned readonly can_move v23
;; @0005                               v25 = icmp ne v22, v24
;; @0005                               trapnz v25, user5
;; @0005                               v26 = load.i64 notrap aligned readonly v21
;; @0005                               v27 = load.i64 notrap aligned readonly v21+8
;; @0005                               v28 = load.i64 notrap aligned region3 v26
;; @0005                               try_call_indirect v28(v27, v1), sig0, block4(ret0), [ context v0 ]
;;
;;                                 block4(v29: i32):
;; @0008                               return v29
;; }
;;
;; Poll 0x0: I32 Item(1), I32 Item(2)
;; Call 0x5: I32 Dead, I32 Dead
