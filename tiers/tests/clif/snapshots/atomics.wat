;;! show = clif

(module
  (memory 1 1 shared)
  (func (param $at i32) (param $value i64) (result i64)
    (i64.atomic.store offset=8 (local.get $at) (i64.atomic.load (local.get $at)))
    (atomic.fence)
    (i64.add
      (i64.extend_i32_u (i32.atomic.rmw16.add_u (local.get $at) (i32.const 3)))
      (i64.atomic.rmw.cmpxchg (local.get $at) (i64.const 1) (local.get $value)))))

;; function u0:0(i64, i32, i64) -> i64 system_v {
;;     region0 = 0 "heap"
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v4 = uextend.i64 v1
;; @0005                               v5 = iconst.i64 7
;; @0005                               v6 = band v4, v5  ; v5 = 7
;; @0005                               trapnz v6, user17
;; @0005                               v7 = load.i64 notrap aligned readonly can_move v0+32
;; @0005                               v8 = iadd v7, v4
;; @0005                               v9 = atomic_load.i64 user2 little region0 v8
;; @0009                               v10 = uextend.i64 v1
;; @0009                               v11 = iconst.i64 7
;; @0009                               v12 = band v10, v11  ; v11 = 7
;; @0009                               trapnz v12, user17
;; @0009                               v13 = load.i64 notrap aligned readonly can_move v0+32
;; @0009                               v14 = iadd v13, v10
;; @0009                               v15 = iconst.i64 8
;; @0009                               v16 = iadd v14, v15  ; v15 = 8
;; @0009                               v17 = atomic_rmw.i64 xchg v16, v9
;; @000d                               fence
;; @0012                               v18 = iconst.i32 3
;; @0014                               v19 = ireduce.i16 v18  ; v18 = 3
;; @0014                               v20 = uextend.i64 v1
;; @0014                               v21 = iconst.i64 1
;; @0014                               v22 = band v20, v21  ; v21 = 1
;; @0014                               trapnz v22, user17
;; @0014                               v23 = load.i64 notrap aligned readonly can_move v0+32
;; @0014                               v24 = iadd v23, v20
;; @0014                               v25 = atomic_rmw.i16 add v24, v19
;; @0014                               v26 = uextend.i32 v25
;; @0018                               v27 = uextend.i64 v26
;; @001b                               v28 = iconst.i64 1
;; @001f                               v29 = uextend.i64 v1
;; @001f                               v30 = iconst.i64 7
;; @001f                               v31 = band v29, v30  ; v30 = 7
;; @001f                               trapnz v31, user17
;; @001f                               v32 = load.i64 notrap aligned readonly can_move v0+32
;; @001f                               v33 = iadd v32, v29
;; @001f                               v34 = atomic_cas v33, v28, v2  ; v28 = 1
;; @0023                               v35 = iadd v27, v34
;; @0024                               return v35
;; }
