/* The seam between C and translated code: see thunks.h. GS is the vCPU throughout. */
#include "engine/dbt/thunks.h"

    .intel_syntax noprefix
    .text

#define JUMP_MASK 0xfff
#define FLAGS_DF 0x400
#define FLAGS_ALU 0xcd5
#define FLAGS_BASE 0x202

/* Guest RSP lives in R15; R11, R14 and R15 live in memory always. */
.macro SAVE_GPRS
    mov gs:[OFF_GPR + 0 * 8], rax
    mov gs:[OFF_GPR + 1 * 8], rcx
    mov gs:[OFF_GPR + 2 * 8], rdx
    mov gs:[OFF_GPR + 3 * 8], rbx
    mov gs:[OFF_GPR + 4 * 8], r15
    mov gs:[OFF_GPR + 5 * 8], rbp
    mov gs:[OFF_GPR + 6 * 8], rsi
    mov gs:[OFF_GPR + 7 * 8], rdi
    mov gs:[OFF_GPR + 8 * 8], r8
    mov gs:[OFF_GPR + 9 * 8], r9
    mov gs:[OFF_GPR + 10 * 8], r10
    mov gs:[OFF_GPR + 12 * 8], r12
    mov gs:[OFF_GPR + 13 * 8], r13
.endm

/* What the C calling convention lets a callee overwrite. */
.macro LOAD_VOLATILE_GPRS
    mov rax, gs:[OFF_GPR + 0 * 8]
    mov rcx, gs:[OFF_GPR + 1 * 8]
    mov rdx, gs:[OFF_GPR + 2 * 8]
    mov rsi, gs:[OFF_GPR + 6 * 8]
    mov rdi, gs:[OFF_GPR + 7 * 8]
    mov r8, gs:[OFF_GPR + 8 * 8]
    mov r9, gs:[OFF_GPR + 9 * 8]
    mov r10, gs:[OFF_GPR + 10 * 8]
.endm

.macro LOAD_GPRS
    LOAD_VOLATILE_GPRS
    mov rbx, gs:[OFF_GPR + 3 * 8]
    mov r15, gs:[OFF_GPR + 4 * 8]
    mov rbp, gs:[OFF_GPR + 5 * 8]
    mov r12, gs:[OFF_GPR + 12 * 8]
    mov r13, gs:[OFF_GPR + 13 * 8]
.endm

/* Registers and flags to the vCPU, then onto the C stack; r11 and r14 stay. */
.macro TO_C
    SAVE_GPRS
    pushfq
    pop qword ptr gs:[OFF_ALU_FLAGS]
    cld
    mov gs:[OFF_SHADOW_RSP], rsp
    mov rsp, gs:[OFF_HOST_RSP]
    mov rdi, gs:[OFF_SELF]
.endm

/* The guest's vector state must be in the registers before translated code goes on. Changes volatile registers. */
.macro VECTOR_BACK
    cmp qword ptr gs:[OFF_VECTOR_LIVE], 0
    jne 1f
    mov rdi, gs:[OFF_SELF]
    call vector_load
1:
.endm

/* Arithmetic flags from the vCPU to RFLAGS; rsp is on the return stack. */
.macro LOAD_FLAGS
    and dword ptr gs:[OFF_ALU_FLAGS], FLAGS_ALU
    or dword ptr gs:[OFF_ALU_FLAGS], FLAGS_BASE
    push qword ptr gs:[OFF_ALU_FLAGS]
    popfq
.endm

/*
 * A thunk that was called may never return: a fault unwinds it. So its return address must not count
 * as part of the return stack while C runs; it stays where it is, below the top. Overwrites rax.
 */
.macro POP_RETURN
    mov rax, [rsp]
    mov gs:[OFF_THUNK_RETURN], rax
    lea rax, [rsp + 8]
    mov gs:[OFF_SHADOW_RSP], rax
.endm

.macro PUSH_RETURN
    mov rsp, gs:[OFF_SHADOW_RSP]
    lea rsp, [rsp - 8]
.endm

/* Arithmetic flags from alu_flags to saved_flags, as LAHF and SETO would; alu_flags is left in ecx. Overwrites rax. */
.macro FLAGS_TO_SAVED
    mov ecx, gs:[OFF_ALU_FLAGS]
    mov eax, ecx
    shl eax, 8
    bt ecx, 11
    setc al
    mov gs:[OFF_SAVED_FLAGS], rax
.endm

.macro PUSH_FRAME
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    mov [rdi + OFF_HOST_RSP], rsp
.endm

.macro POP_FRAME
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
.endm

.macro FUNCTION name
    .globl \name
    .type \name, @function
    .balign 16
\name:
.endm

    .globl thunks_begin, thunks_end
thunks_begin:

/* int thunk_enter(c, code) */
FUNCTION thunk_enter
    PUSH_FRAME
    mov r12, rsi
    VECTOR_BACK
    mov r11, r12
    mov rsp, gs:[OFF_SHADOW_RSP]
    LOAD_FLAGS
    LOAD_GPRS
    jmp r11

/* int thunk_protect(c, run, argument) */
FUNCTION thunk_protect
    PUSH_FRAME
    mov rax, rsi
    mov rsi, rdx
    call rax
    xor eax, eax
    POP_FRAME
    ret

/* void thunk_unwind(c, reason) */
FUNCTION thunk_unwind
    mov rsp, [rdi + OFF_HOST_RSP]
    mov eax, esi
    cld
    POP_FRAME
    ret

/* Leave with the reason in r11d. */
leave_to_c:
    TO_C
    mov eax, r11d
    POP_FRAME
    ret

/*
 * The TLB missed. The flags are dead or in saved_flags, except DF, which C must not see set.
 * The return address stays on the return stack, where `ret` predicts it.
 */
FUNCTION thunk_memory_pre
    SAVE_GPRS
    pushfq
    pop qword ptr gs:[OFF_ALU_FLAGS]
    cld
    POP_RETURN
    mov rsp, gs:[OFF_HOST_RSP]
    mov rdi, gs:[OFF_SELF]
    mov rsi, r14
    mov edx, r11d
    call memory_pre
    mov r14, rax
    VECTOR_BACK
    PUSH_RETURN
    test dword ptr gs:[OFF_ALU_FLAGS], FLAGS_DF
    jnz 2f
    LOAD_VOLATILE_GPRS
    ret
2:  LOAD_VOLATILE_GPRS
    std
    ret

FUNCTION thunk_memory_post
    mov r11, rcx
    mov ecx, gs:[OFF_BOUNCE_KIND]
    jrcxz 1f
    jmp 2f
1:  mov rcx, r11
    ret
2:  mov rcx, r11
    SAVE_GPRS
    pushfq
    pop qword ptr gs:[OFF_ALU_FLAGS]
    cld
    POP_RETURN
    mov rsp, gs:[OFF_HOST_RSP]
    mov rdi, gs:[OFF_SELF]
    call memory_post
    VECTOR_BACK
    PUSH_RETURN
    LOAD_FLAGS
    LOAD_VOLATILE_GPRS
    ret

/* r14: rip; r11: struct helper_call. */
FUNCTION thunk_helper
    mov gs:[OFF_RIP], r14
    TO_C
    add qword ptr gs:[OFF_SHADOW_RSP], 8
    lea rsi, [r11 + 8]
    call [r11]
    cmp dword ptr gs:[OFF_EXIT_WANTED], 0
    jne 3f
    VECTOR_BACK
    FLAGS_TO_SAVED
    PUSH_RETURN
    test ecx, FLAGS_DF
    jnz 2f
    LOAD_GPRS
    ret
2:  LOAD_GPRS
    std
    ret
3:  mov eax, EXIT_LOOKUP
    POP_FRAME
    ret

/* The same, jumped to; the block ends here and the new rip is in the vCPU. */
FUNCTION thunk_helper_end
    mov gs:[OFF_RIP], r14
    TO_C
    lea rsi, [r11 + 8]
    call [r11]
    mov rcx, gs:[OFF_RIP]
    mov ebx, ecx
    and ebx, JUMP_MASK
    shl ebx, 5
    cmp rcx, gs:[rbx + OFF_JUMP]
    jne 3f
    mov rcx, gs:[OFF_GENERATION]
    cmp rcx, gs:[rbx + OFF_JUMP + 8]
    jne 3f
    cmp dword ptr gs:[OFF_IRQ_WAITING], 0
    jne 3f
    VECTOR_BACK
    mov r11, gs:[rbx + OFF_JUMP + 16]
    mov rsp, gs:[OFF_SHADOW_RSP]
    FLAGS_TO_SAVED
    test ecx, FLAGS_DF
    jnz 2f
    LOAD_GPRS
    jmp r11
2:  LOAD_GPRS
    std
    jmp r11
3:  mov eax, EXIT_LOOKUP
    POP_FRAME
    ret

/* Called from an exit of a block that leads nowhere yet. */
FUNCTION thunk_chain
    pop r11
    mov r11d, [r11]
    mov gs:[OFF_EXIT_CHAIN], r11
    mov r11d, EXIT_CHAIN
    jmp leave_to_c

/* r14: target; flags in saved_flags. The code found there takes them from there. */
FUNCTION thunk_indirect
    mov r11d, r14d
    and r11d, JUMP_MASK
    shl r11d, 5
    mov gs:[OFF_RIP], r14
    cmp r14, gs:[r11 + OFF_JUMP]
    jne 2f
    mov r14, gs:[OFF_GENERATION]
    cmp r14, gs:[r11 + OFF_JUMP + 8]
    jne 2f
    jmp qword ptr gs:[r11 + OFF_JUMP + 16]
2:
    mov r11, rax
    mov eax, gs:[OFF_SAVED_FLAGS]
    add al, 127
    sahf
    mov rax, r11
    mov r11d, EXIT_LOOKUP
    jmp leave_to_c

/* A guest return that has no call on the return stack: r14 is the target, flags in saved_flags. */
FUNCTION thunk_return_underflow
    mov rsp, gs:[OFF_SHADOW_BASE]
    jmp thunk_indirect

FUNCTION thunk_attention
    mov gs:[OFF_RIP], r14
    mov r11d, EXIT_ATTENTION
    jmp leave_to_c

/* r14: rip; r11: vector, and the error code (or -1) in bits 63..32. */
FUNCTION thunk_raise
    mov gs:[OFF_RIP], r14
    TO_C
    mov esi, r11d
    mov rdx, r11
    sar rdx, 32
    call raise_fault
thunks_end:

    .section .note.GNU-stack, "", @progbits
