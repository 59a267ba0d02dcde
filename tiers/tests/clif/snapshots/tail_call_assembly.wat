;;! show = assembly
;;! settings = optimized

(module
  (type $t (func (param i64 i64 i32) (result i64 i64)))
  (table 4 funcref)
  (func (type $t)
    (if (i64.eqz (local.get 0)) (then (return (local.get 0) (local.get 1))))
    (return_call_indirect (type $t)
      (i64.sub (local.get 0) (i64.const 1)) (local.get 1) (local.get 2)
      (i32.and (local.get 2) (i32.const 3)))))

;; pushq %rbp
;;   unwind PushFrameRegs { offset_upward_to_caller_sp: 16 }
;;   movq %rsp, %rbp
;;   unwind DefineNewFrame { offset_upward_to_caller_sp: 16, offset_downward_to_clobbers: 0 }
;; block0:
;;   movq 0x10(%rdi), %rax
;;   movq (%rax), %rax
;;   movq    %rsp, %r8
;;   cmpq %rax, %r8
;;   jb      label2; j label1
;; block1:
;;   jmp     label3
;; block3:
;;   testq %rsi, %rsi
;;   jz      label8; j label4
;; block4:
;;   movq 0x38(%rdi), %rax
;;   movq (%rax), %rax
;;   movq %rcx, %r8
;;   andl $0x3, %r8d
;;   cmpq 8(%rax), %r8
;;   jnb #trap=user3
;;   movq (%rax), %rax
;;   movq (%rax, %r8, 8), %rax
;;   movl 0x10(%rax), %r8d
;;   movq 0x58(%rdi), %r9
;;   cmpl (%r9), %r8d
;;   jnz #trap=user5
;;   movq (%rax), %r8
;;   movq 8(%rax), %rax
;;   movq (%r8), %r10
;;   cmpq %rdi, %rax
;;   jz      label5; j label6
;; block5:
;;   jmp     label7
;; block7:
;;   subq $0x1, %rsi
;;   return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi %rdx=%rdx %rcx=%rcx
;; block8:
;;   movq %rsi, %rax
;;   movq %rdx, %rcx
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   movq 0x18(%rdi), %rax
;;   call    *%rax
;;   jmp     label3
;; block6:
;;   movq %rax, %rdi
;;   jmp     label7
;;
;; Poll 0x0: I64 Item(1), I64 Item(2), I32 Item(3)
