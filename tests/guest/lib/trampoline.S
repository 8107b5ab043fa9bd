/*
 * Where an application processor begins: real mode, CS:IP = 0x0800:0. smp_start() copies this to
 * 0x8000. Goes to long mode with the boot processor's CR3 and ends in smp_ap_main(cpu).
 */
#define TRAMPOLINE 0x8000
#define AT(symbol) (TRAMPOLINE + symbol - trampoline_start)
#define CR4_PAE_OSFXSR_OSXMMEXCPT 0x00000620
#define CR0_PE_MP_NE_WP_PG 0x80010023
#define MSR_EFER 0xC0000080
#define EFER_SCE_LME_NXE 0x00000901

        .section .rodata
        .globl trampoline_start, trampoline_end
        .balign 16
        .code16
trampoline_start:
        cli
        movw %cs, %ax
        movw %ax, %ds
        movl $CR4_PAE_OSFXSR_OSXMMEXCPT, %eax
        movl %eax, %cr4
        movl smp_cr3 - trampoline_start, %eax
        movl %eax, %cr3
        movl $MSR_EFER, %ecx
        movl $EFER_SCE_LME_NXE, %eax
        xorl %edx, %edx
        wrmsr
        lgdtl trampoline_gdt_pointer - trampoline_start
        movl $CR0_PE_MP_NE_WP_PG, %eax
        movl %eax, %cr0
        ljmpl $0x08, $AT(trampoline_64)

        .code64
trampoline_64:
        movl $0x10, %eax
        movl %eax, %ss
        movl %eax, %ds
        movl %eax, %es
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        fninit
        /* Numbered in order of arrival; the APIC identifier is compared later. */
        movl $1, %edi
        lock
        xaddl %edi, smp_next_cpu
        movl %edi, %eax
        shll $14, %eax                  /* SMP_STACK_SIZE each */
        leaq smp_stacks(%rax), %rsp
        movl $smp_ap_main, %eax
        call *%rax
1:      hlt
        jmp 1b

        .balign 8
trampoline_gdt:
        .quad 0
        .quad 0x00AF9B000000FFFF
        .quad 0x00CF93000000FFFF
trampoline_gdt_pointer:
        .word . - trampoline_gdt - 1
        .long AT(trampoline_gdt)
        .globl smp_cr3
smp_cr3:
        .long 0
trampoline_end:

        .section .note.GNU-stack, "", @progbits
