/*
 * Entry from a Multiboot 1 loader: 32-bit protected mode, paging off, EAX = magic, EBX = information.
 * Builds an identity map of the low 4 GiB in 2 MiB pages, goes to long mode and calls
 * guest_start(magic, info). Only the 2 MiB page that holds the user sections is user-accessible.
 */
#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x00000003 /* page-aligned modules, memory map wanted */

#define PTE_P 0x001
#define PTE_W 0x002
#define PTE_U 0x004
#define PTE_PS 0x080

#define CR0_PE_MP_NE_WP_PG 0x80010023
#define CR4_PAE_OSFXSR_OSXMMEXCPT 0x00000620
#define MSR_EFER 0xC0000080
#define EFER_SCE_LME_NXE 0x00000901

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_MAGIC
        .long MULTIBOOT_FLAGS
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .text
        .code32
        .globl start32
start32:
        cli
        cld
        movl $boot_stack_top, %esp
        movl %eax, %ebp                 /* EBP = magic, EBX = information, kept until the end */

        /* PML4[0] -> PDPT; PDPT[0..3] -> four page directories. Upper levels carry U: leaves decide. */
        movl $(boot_pdpt + PTE_P + PTE_W + PTE_U), boot_pml4
        movl $(boot_pd + PTE_P + PTE_W + PTE_U), %eax
        movl $boot_pdpt, %edi
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $4096, %eax
        addl $8, %edi
        loop 1b

        /* 2048 leaves of 2 MiB. */
        movl $(PTE_P + PTE_W + PTE_PS), %eax
        movl $boot_pd, %edi
        movl $2048, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b
        orl $PTE_U, boot_pd + 2 * 8     /* 4 MiB: the user sections */

        movl $CR4_PAE_OSFXSR_OSXMMEXCPT, %eax
        movl %eax, %cr4
        movl $boot_pml4, %eax
        movl %eax, %cr3
        movl $MSR_EFER, %ecx
        movl $EFER_SCE_LME_NXE, %eax
        xorl %edx, %edx
        wrmsr
        movl $CR0_PE_MP_NE_WP_PG, %eax
        movl %eax, %cr0
        lgdt boot_gdt_pointer
        ljmp $0x08, $start64

        .code64
start64:
        movl $0x10, %eax
        movl %eax, %ss
        movl %eax, %ds
        movl %eax, %es
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        movl $boot_stack_top, %esp
        fninit
        movl %ebp, %edi
        movl %ebx, %esi
        xorl %ebp, %ebp
        call guest_start
1:      hlt
        jmp 1b

        .section .rodata
        .balign 8
boot_gdt:
        .quad 0
        .quad 0x00AF9B000000FFFF        /* 0x08: 64-bit code, DPL 0 */
        .quad 0x00CF93000000FFFF        /* 0x10: data, DPL 0 */
boot_gdt_pointer:
        .word . - boot_gdt - 1
        .long boot_gdt

        .bss
        .balign 4096
        .globl boot_pml4, boot_pdpt, boot_pd
boot_pml4:
        .skip 4096
boot_pdpt:
        .skip 4096
boot_pd:
        .skip 4 * 4096
        .skip 16384
        .globl boot_stack_top
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
