/* Into a sequence with a given state, and out of it with what it left. struct image is at the offsets below. */

    .intel_syntax noprefix

#define RIP 128
#define RFLAGS 136
#define FS_BASE 144
#define GS_BASE 152
#define XSAVE 192
#define COMPONENTS 0xe7

#define SYS_ARCH_PRCTL 158
#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

    .bss
    .balign 64
    .globl native_out
native_out: .skip 3072
    .globl native_host_fs, native_fault_fs, native_fault_gs
native_host_fs: .skip 8
native_fault_fs: .skip 8
native_fault_gs: .skip 8
    .globl native_has_fsgsbase
native_has_fsgsbase: .skip 8
host_rsp: .skip 8
target: .skip 8
base: .skip 8

    .text

/* Segment bases, by instruction or by the kernel's hand. They change RAX, RCX, RDI, RSI, R11. */

    .macro read_base name, instruction, function /* into RAX */
\name:
    cmp byte ptr [rip + native_has_fsgsbase], 0
    je 1f
    \instruction rax
    ret
1:  mov edi, \function
    lea rsi, [rip + base]
    mov eax, SYS_ARCH_PRCTL
    syscall
    mov rax, [rip + base]
    ret
    .endm

    .macro write_base name, instruction, function /* from RAX */
\name:
    cmp byte ptr [rip + native_has_fsgsbase], 0
    je 1f
    \instruction rax
    ret
1:  mov edi, \function
    mov rsi, rax
    mov eax, SYS_ARCH_PRCTL
    syscall
    ret
    .endm

    read_base read_fs, rdfsbase, ARCH_GET_FS
    read_base read_gs, rdgsbase, ARCH_GET_GS
    write_base write_fs, wrfsbase, ARCH_SET_FS
    write_base write_gs, wrgsbase, ARCH_SET_GS

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
    mov rbx, rdi
    call read_fs
    mov [rip + native_host_fs], rax
    mov eax, COMPONENTS
    xor edx, edx
    xrstor64 [rbx + XSAVE]
    mov rax, [rbx + RIP]
    mov [rip + target], rax
    mov rax, [rbx + FS_BASE]
    call write_fs
    mov rax, [rbx + GS_BASE]
    call write_gs
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
    call read_fs
    mov [rip + native_out + FS_BASE], rax
    call read_gs
    mov [rip + native_out + GS_BASE], rax
    mov rax, [rip + native_host_fs]
    call write_fs
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
    mov r12, rdi
    mov r13, rsi
    call read_fs
    mov [rip + native_fault_fs], rax
    call read_gs
    mov [rip + native_fault_gs], rax
    mov rax, [rip + native_host_fs]
    test rax, rax
    jz 1f
    call write_fs
1:  mov rdi, r12
    mov rsi, r13
    sub rsp, 8
    call native_fault
    mov rsp, [rip + host_rsp]
    mov eax, 1
    jmp leave_case

    .section .note.GNU-stack, "", @progbits
