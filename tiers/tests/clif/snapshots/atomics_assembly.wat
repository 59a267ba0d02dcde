;;! show = assembly
;;! settings = optimized

(module
  (memory 1 1 shared)
  (func (param $at i32) (param $value i64) (result i64)
    (i64.atomic.store offset=8 (local.get $at) (i64.atomic.load (local.get $at)))
    (atomic.fence)
    (i64.add
      (i64.extend_i32_u (i32.atomic.rmw16.add_u (local.get $at) (i32.const 3)))
      (i64.atomic.rmw.cmpxchg (local.get $at) (i64.const 1) (local.get $value)))))

;; pushq %rbp
;;   unwind PushFrameRegs { offset_upward_to_caller_sp: 16 }
;;   movq %rsp, %rbp
;;   unwind DefineNewFrame { offset_upward_to_caller_sp: 16, offset_downward_to_clobbers: 0 }
;; block0:
;;   movl %esi, %r8d
;;   testq $0x7, %r8
;;   jnz #trap=user17
;;   movq 0x20(%rdi), %rcx
;;   movq (%rcx, %r8), %rsi
;;   xchgq %rsi, 8(%rcx, %r8)
;;   mfence
;;   movl $0x1, %esi
;;   testq $0x1, %r8
;;   jnz #trap=user17
;;   movl $0x3, %edi
;;   lock xaddw %di, (%rcx, %r8)
;;   movq %rsi, %rax
;;   lock cmpxchgq %rdx, (%rcx, %r8) ;; implicit: %rax
;;   movzwq %di, %rcx
;;   leaq (%rcx, %rax), %rax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
