;;! show = clif

(module
  (func (param i32) (result i32)
    (block $a (result i32)
      (block $b (result i32)
        (br_table $a $b $a (i32.const 10) (local.get 0)))
      (i32.mul (i32.const 3)))))

;; function u0:0(i64, i32) -> i32 system_v {
;;                                 block0(v0: i64, v1: i32):
;; @0005                               v5 = iconst.i32 10
;; @0009                               br_table v1, block2(v5), [block2(v5), block3(v5)]  ; v5 = 10, v5 = 10, v5 = 10
;;
;;                                 block3(v4: i32):
;; @000f                               v6 = iconst.i32 3
;; @0011                               v7 = imul v4, v6  ; v6 = 3
;; @0012                               jump block2(v7)
;;
;;                                 block2(v3: i32):
;; @0013                               return v3
;; }
