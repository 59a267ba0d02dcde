;;! show = assembly
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

;; pushq %rbp
;;   unwind PushFrameRegs { offset_upward_to_caller_sp: 16 }
;;   movq %rsp, %rbp
;;   unwind DefineNewFrame { offset_upward_to_caller_sp: 16, offset_downward_to_clobbers: 0 }
;; block0:
;;   movq 0x10(%rdi), %r9
;;   movq (%r9), %rax
;;   movq    %rsp, %rcx
;;   cmpq %rax, %rcx
;;   jb      label2; j label1
;; block1:
;;   jmp     label3
;; block3:
;;   uninit  %rcx
;;   xorl %ecx, %ecx
;;   movq 0x20(%rdi), %r8
;;   jmp     label4
;; block4:
;;   movq 8(%r9), %rax
;;   testq %rax, %rax
;;   jnz     label6; j label5
;; block5:
;;   jmp     label7
;; block7:
;;   movl %esi, %eax
;;   movl 0x10(%r8, %rax), %eax
;;   subl $0x1, %edx
;;   leal 4(%rsi), %esi
;;   leal (%rcx, %rax), %eax
;;   testl %edx, %edx
;;   jnz     label8; j label9
;; block8:
;;   movq %rax, %rcx
;;   jmp     label4
;; block9:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   movq 0x18(%rdi), %rax
;;   call    *%rax
;;   jmp     label3
;; block6:
;;   movq 0x18(%rdi), %rax
;;   call    *%rax
;;   jmp     label7
;;
;; Poll 0x0: I32 Item(1), I32 Item(2), I32 Const(0)
;; Poll 0x3: I32 Item(1), I32 Item(2), I32 Item(3)
