/* Entry points of all 256 vectors, and the way into another context. Offsets: struct trap_frame. */
#define FRAME_RIP 136
#define FRAME_CS 144
#define FRAME_RFLAGS 152
#define FRAME_RSP 160
#define FRAME_SS 168
#define KERNEL_DS 0x10

        .text
        /* 16 bytes a stub; those of exceptions that push no error code push a zero. */
        .balign 16
        .globl trap_stubs
trap_stubs:
        .set vector, 0
        .rept 256
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        pushq $0
        .endif
        pushq $vector
        jmp trap_common
        .set vector, vector + 1
        .endr

trap_common:
        pushq %rax
        pushq %rbx
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rbp
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        cld
        movq %rsp, %rdi
        movq %rsp, %rbp
        andq $-16, %rsp
        call trap_dispatch
        movq %rbp, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rbp
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rbx
        popq %rax
        addq $16, %rsp
        iretq

        .globl context_run
context_run:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushfq
        movq %rsp, trap_recover_rsp
        movq $1f, trap_recover_rip
        pushq FRAME_SS(%rdi)
        pushq FRAME_RSP(%rdi)
        pushq FRAME_RFLAGS(%rdi)
        pushq FRAME_CS(%rdi)
        pushq FRAME_RIP(%rdi)
        movq 0(%rdi), %r15
        movq 8(%rdi), %r14
        movq 16(%rdi), %r13
        movq 24(%rdi), %r12
        movq 32(%rdi), %r11
        movq 40(%rdi), %r10
        movq 48(%rdi), %r9
        movq 56(%rdi), %r8
        movq 64(%rdi), %rbp
        movq 80(%rdi), %rsi
        movq 88(%rdi), %rdx
        movq 96(%rdi), %rcx
        movq 104(%rdi), %rbx
        movq 112(%rdi), %rax
        movq 72(%rdi), %rdi
        .globl context_iretq
context_iretq:
        iretq
1:      movl $KERNEL_DS, %eax
        movl %eax, %ds
        movl %eax, %es
        popfq
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        .section .note.GNU-stack, "", @progbits
