;;! show = clif

(; Across the call: $a is live, $b is not, $c is a constant, and an operand is on the stack. The operand
was read from $b: the dead local is described by it. ;)
(module
  (func $f (import "" "f") (param i64) (result i64))
  (func (param $a i64) (param $b i64) (result i64)
    (local $c i64)
    (local.set $c (i64.const 7))
    (i64.add
      (local.get $b)
      (i64.mul
        (call $f (local.get $a))
        (i64.add (local.get $a) (local.get $c))))))

;; function u0:1(i64, i64, i64) -> i64 system_v {
;;     region0 = 6 "control"
;;     region1 = 5 "entries"
;;     sig0 = (i64, i64) -> i64 system_v
;;     sig1 = (i64, i64, i64) preserve_all
;;
;;                                 block0(v0: i64, v1: i64, v2: i64):
;;                                     v10 -> v1
;;                                     v9 -> v2
;; @0000                               v4 = get_stack_pointer.i64
;; @0000                               v5 = load.i64 notrap aligned readonly can_move v0+16
;; @0000                               v6 = load.i64 notrap aligned region0 v5
;; @0000                               v7 = icmp ult v4, v6
;; @0000                               brif v7, block2, block3
;;
;;                                 block2 cold:
;; @0000                               v19 = load.i64 notrap aligned v0+24
;; @0000                               call_indirect sig1, v19(v0, v1, v2)
;; @0000                               jump block3
;;
;;                                 block3:
;; @0003                               v8 = iconst.i64 7
;; @000b                               v11 = load.i64 notrap aligned readonly can_move v0+80
;; @000b                               v12 = load.i64 notrap aligned readonly can_move v11
;; @000b                               v13 = load.i64 notrap aligned readonly can_move v11+8
;; @000b                               v14 = load.i64 notrap aligned region1 v12
;; @000b                               try_call_indirect v14(v13, v1), sig0, block4(ret0), [ context v0, context v1, context v2 ]
;;
;;                                 block4(v15: i64):
;; @0011                               v16 = iadd.i64 v10, v8  ; v8 = 7
;; @0012                               v17 = imul v15, v16
;; @0013                               v18 = iadd.i64 v2, v17
;; @0014                               return v18
;; }
;;
;; Poll 0x0: I64 Item(1), I64 Item(2), I64 Dead
;; Call 0xb: I64 Item(1), I64 Item(2), I64 Const(7), I64 Item(2)
