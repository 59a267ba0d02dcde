;;! show = assembly
;;! settings = optimized

(module
  (func $f (param i64 i64 i64 i64 i64 i64) (result i32 i32) (local i32)
    (call $f (local.get 1) (local.get 0) (local.get 2) (local.get 5) (local.get 4) (local.get 3))
    (local.set 6)
    (if (then (return (local.get 6) (i32.const 7))))
    (return_call $f (local.get 1) (local.get 0) (local.get 2) (local.get 5) (local.get 4) (local.get 3))))

;; pushq %rbp
;;   unwind PushFrameRegs { offset_upward_to_caller_sp: 16 }
;;   movq %rsp, %rbp
;;   unwind DefineNewFrame { offset_upward_to_caller_sp: 16, offset_downward_to_clobbers: 48 }
;;   subq $0x60, %rsp
;;   movq %rbx, 0x30(%rsp)
;;   unwind SaveReg { clobber_offset: 0, reg: p3i }
;;   movq %r12, 0x38(%rsp)
;;   unwind SaveReg { clobber_offset: 8, reg: p12i }
;;   movq %r13, 0x40(%rsp)
;;   unwind SaveReg { clobber_offset: 16, reg: p13i }
;;   movq %r14, 0x48(%rsp)
;;   unwind SaveReg { clobber_offset: 24, reg: p14i }
;;   movq %r15, 0x50(%rsp)
;;   unwind SaveReg { clobber_offset: 32, reg: p15i }
;; block0:
;;   movq 0x10(%rdi), %rax
;;   movq (%rax), %rax
;;   movq    %rsp, %r10
;;   cmpq %rax, %r10
;;   jb      label2; j label1
;; block1:
;;   movq %r9, %r15
;;   movq %rsi, <offset:1>+8(%rsp)
;;   movq %rdx, <offset:1>+0x10(%rsp)
;;   movq %rcx, <offset:1>+0x18(%rsp)
;;   jmp     label3
;; block3:
;;   movq    %rbp, %r14
;;   movq 0x10(%r14), %rbx
;;   movq 0x48(%rdi), %r12
;;   movq %rdi, <offset:1>+(%rsp)
;;   movq (%r12), %r10
;;   movq %r8, (%rsp)
;;   movq %r8, %r13
;;   movq <offset:1>+0x18(%rsp), %rcx
;;   movq <offset:1>+8(%rsp), %rdx
;;   movq <offset:1>+0x10(%rsp), %rsi
;;   movq %rbx, %r8
;;   movq %r15, %r9
;;   call    *%r10; jmp MachLabel(4); catch [context stack0, context stack1, context stack2, context stack3, context p13i, context p15i, context p3i]
;; block4:
;;   movq %rdx, %rcx
;;   testl %eax, %eax
;;   jnz     label6; j label5
;; block5:
;;   movq (%r12), %r10
;;   movq %r13, 0x10(%r14)
;;   movq <offset:1>+0x18(%rsp), %rcx
;;   movq <offset:1>+8(%rsp), %rdx
;;   movq <offset:1>+0x10(%rsp), %rsi
;;   movq <offset:1>+(%rsp), %rdi
;;   movq %rbx, %r8
;;   movq %r15, %r9
;;   return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi %rdx=%rdx %rcx=%rcx %r8=%r8 %r9=%r9
;; block6:
;;   movl $0x7, %edx
;;   movq %rcx, %rax
;;   movq %rdx, %rcx
;;   movq 0x30(%rsp), %rbx
;;   movq 0x38(%rsp), %r12
;;   movq 0x40(%rsp), %r13
;;   movq 0x48(%rsp), %r14
;;   movq 0x50(%rsp), %r15
;;   addq $0x60, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   movq    %rbp, %rax
;;   movq 0x10(%rax), %rax
;;   movq 0x18(%rdi), %r10
;;   movq %rax, (%rsp)
;;   call    *%r10
;;   movq %r9, %r15
;;   movq %rsi, <offset:1>+8(%rsp)
;;   movq %rdx, <offset:1>+0x10(%rsp)
;;   movq %rcx, <offset:1>+0x18(%rsp)
;;   jmp     label3
;;
;; Poll 0x0: I64 Item(1), I64 Item(2), I64 Item(3), I64 Item(4), I64 Item(5), I64 Item(6), I32 Dead
;; Call 0xf: I64 Item(1), I64 Item(2), I64 Item(3), I64 Item(4), I64 Item(5), I64 Item(6), I32 Dead
