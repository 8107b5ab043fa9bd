/* Into a sequence with a given state, and out of it with what it left. struct image is at the offsets below. */

    .intel_syntax noprefix

#define RIP 128
#define RFLAGS 136
#define FS_BASE 144
#define GS_BASE 152
#define XSAVE 192
#define COMPONENTS 0xe7

    .bss
    .balign 64
    .globl native_out
native_out: .skip 3072
    .globl native_host_fs, native_fault_fs, native_fault_gs
native_host_fs: .skip 8
native_fault_fs: .skip 8
native_fault_gs: .skip 8
host_rsp: .skip 8
target: .skip 8

    .text

/* void native_enter(const struct image *start) */
    .globl native_enter
    .type native_enter, @function
native_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + host_rsp], rsp
    rdfsbase rax
    mov [rip + native_host_fs], rax
    mov rbx, rdi
    mov eax, COMPONENTS
    xor edx, edx
    xrstor64 [rbx + XSAVE]
    mov rax, [rbx + RIP]
    mov [rip + target], rax
    mov rax, [rbx + FS_BASE]
    wrfsbase rax
    mov rax, [rbx + GS_BASE]
    wrgsbase rax
    push qword ptr [rbx + RFLAGS]
    mov rax, [rbx + 0]
    mov rcx, [rbx + 8]
    mov rdx, [rbx + 16]
    mov rbp, [rbx + 40]
    mov rsi, [rbx + 48]
    mov rdi, [rbx + 56]
    mov r8, [rbx + 64]
    mov r9, [rbx + 72]
    mov r10, [rbx + 80]
    mov r11, [rbx + 88]
    mov r12, [rbx + 96]
    mov r13, [rbx + 104]
    mov r14, [rbx + 112]
    mov r15, [rbx + 120]
    popfq
    mov rsp, [rbx + 32]
    mov rbx, [rbx + 24]
    jmp [rip + target]

/* The sequence jumped here through EXIT_PAGE. */
    .globl native_exit
    .type native_exit, @function
native_exit:
    mov [rip + native_out + 0], rax
    mov [rip + native_out + 8], rcx
    mov [rip + native_out + 16], rdx
    mov [rip + native_out + 24], rbx
    mov [rip + native_out + 32], rsp
    mov [rip + native_out + 40], rbp
    mov [rip + native_out + 48], rsi
    mov [rip + native_out + 56], rdi
    mov [rip + native_out + 64], r8
    mov [rip + native_out + 72], r9
    mov [rip + native_out + 80], r10
    mov [rip + native_out + 88], r11
    mov [rip + native_out + 96], r12
    mov [rip + native_out + 104], r13
    mov [rip + native_out + 112], r14
    mov [rip + native_out + 120], r15
    mov rsp, [rip + host_rsp]
    pushfq
    pop [rip + native_out + RFLAGS]
    push 0x202
    popfq
    rdfsbase rax
    mov [rip + native_out + FS_BASE], rax
    rdgsbase rax
    mov [rip + native_out + GS_BASE], rax
    mov rax, [rip + native_host_fs]
    wrfsbase rax
    mov eax, COMPONENTS
    xor edx, edx
    xsave64 [rip + native_out + XSAVE]
    xor eax, eax
leave_case:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

/*
 * Signal handler. The sequence's AC flag and segment bases must go before C runs. native_fault() fills
 * native_out; then this returns from native_enter, past sigreturn, which the signal mask does not need.
 */
    .globl native_signal
    .type native_signal, @function
native_signal:
    push 0x202
    popfq
    rdfsbase rax
    mov [rip + native_fault_fs], rax
    rdgsbase rax
    mov [rip + native_fault_gs], rax
    mov rax, [rip + native_host_fs]
    test rax, rax
    jz 1f
    wrfsbase rax
1:  sub rsp, 8
    call native_fault
    mov rsp, [rip + host_rsp]
    mov eax, 1
    jmp leave_case

    .section .note.GNU-stack, "", @progbits
