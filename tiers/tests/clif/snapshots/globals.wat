;;! show = clif

(module
  (global $imported (import "" "g") (mut i32))
  (global $constant i64 (i64.const 5))
  (global $own (mut f32) (f32.const 0))
  (func (param f32) (result i64)
    (global.set $own (f32.add (global.get $own) (local.get 0)))
    (global.set $imported (i32.const -1))
    (i64.add (global.get $constant) (i64.extend_i32_u (global.get $imported)))))

;; function u0:0(i64, f32) -> i64 system_v {
;;     region0 = 17 "global"
;;     region1 = 4 "imported globals"
;;
;;                                 block0(v0: i64, v1: f32):
;; @0001                               v3 = load.f32 notrap aligned region0 v0+160
;; @0005                               v4 = fadd v3, v1
;; @0006                               store notrap aligned region0 v4, v0+160
;; @0008                               v5 = iconst.i32 -1
;; @000a                               v6 = load.i64 notrap aligned readonly can_move v0+64
;; @000a                               v7 = load.i64 notrap aligned readonly can_move v6
;; @000a                               store notrap aligned region1 v5, v7  ; v5 = -1
;; @000c                               v8 = load.i64 notrap aligned readonly can_move v0+144
;; @000e                               v9 = load.i64 notrap aligned readonly can_move v0+64
;; @000e                               v10 = load.i64 notrap aligned readonly can_move v9
;; @000e                               v11 = load.i32 notrap aligned region1 v10
;; @0010                               v12 = uextend.i64 v11
;; @0011                               v13 = iadd v8, v12
;; @0012                               return v13
;; }
