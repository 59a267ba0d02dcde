;;! show = assembly
;;! settings = optimized

(module
  (func $fib (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else
        (i32.add
          (call $fib (i32.sub (local.get 0) (i32.const 1)))
          (call $fib (i32.sub (local.get 0) (i32.const 2))))))))

;; pushq %rbp
;;   unwind PushFrameRegs { offset_upward_to_caller_sp: 16 }
;;   movq %rsp, %rbp
;;   unwind DefineNewFrame { offset_upward_to_caller_sp: 16, offset_downward_to_clobbers: 32 }
;;   subq $0x20, %rsp
;;   movq %rbx, (%rsp)
;;   unwind SaveReg { clobber_offset: 0, reg: p3i }
;;   movq %r12, 8(%rsp)
;;   unwind SaveReg { clobber_offset: 8, reg: p12i }
;;   movq %r13, 0x10(%rsp)
;;   unwind SaveReg { clobber_offset: 16, reg: p13i }
;; block0:
;;   movq %rsi, %r12
;;   movq 0x10(%rdi), %rax
;;   movq (%rax), %rax
;;   movq    %rsp, %rcx
;;   cmpq %rax, %rcx
;;   jb      label2; j label1
;; block1:
;;   movq %r12, %rsi
;;   jmp     label3
;; block3:
;;   movq %r12, %rsi
;;   cmpl $0x2, %esi
;;   jb      label7; j label4
;; block4:
;;   movq 0x48(%rdi), %rbx
;;   movq %rdi, %r13
;;   movq (%rbx), %rcx
;;   movq %r12, %rsi
;;   subl $0x1, %esi
;;   call    *%rcx; jmp MachLabel(5); catch [context p13i, context p12i]
;; block5:
;;   movq %rax, %rcx
;;   movq (%rbx), %rax
;;   movq %r12, %rsi
;;   subl $0x2, %esi
;;   movq %rcx, %rbx
;;   movq %r13, %rdi
;;   call    *%rax; jmp MachLabel(6); catch [context p13i, context p3i]
;; block6:
;;   leal (%rbx, %rax), %eax
;;   jmp     label8
;; block7:
;;   movq %r12, %rsi
;;   movq %rsi, %rax
;;   jmp     label8
;; block8:
;;   movq (%rsp), %rbx
;;   movq 8(%rsp), %r12
;;   movq 0x10(%rsp), %r13
;;   addq $0x20, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   movq 0x18(%rdi), %rax
;;   movq %r12, %rsi
;;   call    *%rax
;;   jmp     label3
;;
;; Poll 0x0: I32 Item(1)
;; Call 0x10: I32 Item(1)
;; Call 0x17: I32 Dead, I32 Item(1)
