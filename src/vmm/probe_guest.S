/*
 * The guest of the KVM probe: what every 64-bit kernel does in its first microseconds, since hosts
 * are known where plain arithmetic runs and this does not. Descriptor tables, CR3, a segment
 * reload, two exceptions, SSE, a page fault, an interrupt from the local APIC, a trip to user mode and
 * back by SYSCALL. At the end it answers through port 0x10 with the sum of the steps it went through.
 *
 * It is position independent, 4 KiB at most, entered in 64-bit mode with its page tables, EFER.SCE
 * and CR4.OSFXSR set, its first 2 MiB identity-mapped, writable and open to user mode, nothing else mapped.
 */
    .set UNMAPPED, 0x200000
    .set VECTOR, 0x30                # of the interrupt
    .section .rodata
    .globl probe_guest
    .globl probe_guest_end
    .balign 16
probe_guest:
    leaq stack(%rip), %rsp
    xorl %ebx, %ebx                  # the sum

    leaq gdt(%rip), %rax
    movq %rax, gdtr + 2(%rip)
    lgdt gdtr(%rip)
    pushq $0x08
    leaq reloaded(%rip), %rax
    pushq %rax
    lretq
reloaded:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss

    leaq breakpoint(%rip), %rax      # IDT entry 3
    leaq idt + 3 * 16(%rip), %rdi
    call set_gate
    leaq undefined(%rip), %rax       # IDT entry 6
    leaq idt + 6 * 16(%rip), %rdi
    call set_gate
    leaq idt(%rip), %rax
    movq %rax, idtr + 2(%rip)
    lidt idtr(%rip)

    movq %cr3, %rax
    movq %rax, %cr3
    invlpg idt(%rip)
    int3                             # + 1
    ud2                              # + 2

    movl $0x3f800000, %eax           # SSE: 1.0 + 1.0 = 2.0
    movd %eax, %xmm3
    addss %xmm3, %xmm3
    movd %xmm3, %eax
    cmpl $0x40000000, %eax
    jne failed
    addl $16, %ebx

    leaq page_fault(%rip), %rax      # IDT entry 14
    leaq idt + 14 * 16(%rip), %rdi
    call set_gate
    movl $UNMAPPED, %esi
touch:
    movq (%rsi), %rax                # + 32
touched:
    leaq interrupt(%rip), %rax
    leaq idt + VECTOR * 16(%rip), %rdi
    call set_gate
    movl $0x1b, %ecx                 # IA32_APIC_BASE: x2APIC mode
    rdmsr
    orl $0xc00, %eax
    wrmsr
    movl $0x80f, %ecx                # SVR: enabled
    movl $0x1ff, %eax
    xorl %edx, %edx
    wrmsr
    sti
    movl $0x83f, %ecx                # SELF IPI
    movl $VECTOR, %eax
    wrmsr                            # + 64
    nop
    cli

    movl $0xc0000082, %ecx           # LSTAR
    leaq back(%rip), %rax
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    movl $0xc0000081, %ecx           # STAR: SYSCALL loads 0x08, 0x10
    xorl %eax, %eax
    movl $0x00080008, %edx
    wrmsr
    movl $0xc0000084, %ecx           # SFMASK
    movl $0x700, %eax
    xorl %edx, %edx
    wrmsr
    leaq stack(%rip), %rsi
    pushq $0x1b                      # user SS
    pushq %rsi
    pushq $0x2
    pushq $0x23                      # user CS
    leaq user(%rip), %rax
    pushq %rax
    iretq
user:
    movl %cs, %eax
    andl $3, %eax
    cmpl $3, %eax
    jne failed
    addl $4, %ebx
    syscall
back:
    movl %cs, %eax
    testl $3, %eax
    jnz failed
    addl $8, %ebx
failed:
    movl %ebx, %eax
    outb %al, $0x10
    hlt

set_gate:                            # %rax: handler, %rdi: the gate
    movw %ax, (%rdi)
    movw $0x08, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shrq $16, %rax
    movw %ax, 6(%rdi)
    shrq $16, %rax
    movl %eax, 8(%rdi)
    ret

breakpoint:
    addl $1, %ebx
    iretq
undefined:
    addl $2, %ebx
    addq $2, (%rsp)
    iretq
page_fault:
    popq %rax                        # error code: a read of what is not present
    testl %eax, %eax
    jnz failed
    movq %cr2, %rax
    cmpq $UNMAPPED, %rax
    jne failed
    addl $32, %ebx
    leaq touched(%rip), %rax
    movq %rax, (%rsp)
    iretq
interrupt:
    addl $64, %ebx
    movl $0x80b, %ecx                # EOI
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    iretq

    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff         # 0x08 kernel code
    .quad 0x00cf93000000ffff         # 0x10 kernel data
    .quad 0x00cff3000000ffff         # 0x18 user data
    .quad 0x00affb000000ffff         # 0x20 user code
gdtr:
    .word gdtr - gdt - 1
    .quad 0
    .balign 16
idt:
    .fill (VECTOR + 1) * 16, 1, 0
idtr:
    .word idtr - idt - 1
    .quad 0
    .balign 16
    .fill 256, 1, 0
stack:
probe_guest_end:

    .section .note.GNU-stack, "", @progbits
