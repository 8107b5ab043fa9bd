/*
 * What the test "real" runs outside long mode, and the way there and back.
 *
 * real_enter() copies real_blob to linear 0x10000 and goes down: 64-bit, 16-bit compatibility mode,
 * 16-bit protected mode, real mode. The blob runs at 1000:0000 and leaves words at 1000:8000; then
 * the way up again. All addresses in the blob are offsets in segment 0x1000.
 */
#define BASE 0x10000
#define SEGMENT 0x1000
#define OFFSET(symbol) (symbol - real_blob)
#define LINEAR(symbol) (BASE + symbol - real_blob)
#define RESULTS 0x8000
#define SCRATCH 0x9000

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define MSR_EFER 0xC0000080
#define CR0_PE 0x00000001

        .text
        .code64
        .globl real_enter
real_enter:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movl $real_blob, %esi
        movl $BASE, %edi
        movl $(real_blob_end - real_blob), %ecx
        rep movsb
        movq %rsp, real_saved_rsp
        movq %cr0, %rax
        movq %rax, LINEAR(saved_cr0)
        movq %cr3, %rax
        movq %rax, LINEAR(saved_cr3)
        movq %cr4, %rax
        movq %rax, LINEAR(saved_cr4)
        sgdt real_saved_gdt
        sidt real_saved_idt
        lgdt LINEAR(low_gdt_pointer)
        pushq $0x18
        pushq $OFFSET(real_down)
        lretq

real_up_64:
        movl $KERNEL_DS, %eax
        movl %eax, %ss
        movl %eax, %ds
        movl %eax, %es
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        lgdt real_saved_gdt
        lidt real_saved_idt
        movq real_saved_rsp, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        .bss
        .balign 8
real_saved_rsp:
        .skip 8
real_saved_gdt:
        .skip 16
real_saved_idt:
        .skip 16

        .section .rodata
        .balign 16
        .code16
real_blob:
        jmp real_tests                  /* not used: the way in is real_down */

        /* CS is a 16-bit segment with base 0x10000, in compatibility mode. */
real_down:
        movw $0x20, %ax                 /* data, base 0x10000, limit 64 KiB */
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw %ax, %fs
        movw %ax, %gs
        movw $0xfff0, %sp
        movl %cr0, %eax
        andl $0x7fffffff, %eax          /* paging off: out of long mode */
        movl %eax, %cr0
        movl $MSR_EFER, %ecx
        rdmsr
        andl $~0x100, %eax              /* LME */
        wrmsr
        xorl %eax, %eax
        movl %eax, %cr4
        movl %cr0, %eax
        andl $~CR0_PE, %eax
        movl %eax, %cr0
        ljmp $SEGMENT, $OFFSET(real_mode)
real_mode:
        movw $SEGMENT, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0xfff0, %sp
        lidtl OFFSET(real_idt_pointer)
        jmp real_tests

        /* Back up. */
real_up:
        cli
        cld
        movw $SEGMENT, %ax
        movw %ax, %ds
        movl OFFSET(saved_cr4), %eax
        movl %eax, %cr4
        movl OFFSET(saved_cr3), %eax
        movl %eax, %cr3
        movl $MSR_EFER, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        lgdtl OFFSET(low_gdt_pointer)
        movl OFFSET(saved_cr0), %eax
        movl %eax, %cr0
        ljmpl $KERNEL_CS, $real_up_64

/* Notes AX; DI is the cursor, in ES = SEGMENT. */
.macro NOTE
        stosw
.endm

/* Where the next results belong, whatever happened to those before. */
.macro RESULT number
        movw $(RESULTS + 2 * \number), %di
.endm

/* The vector gets this handler. Clobbers BX. */
.macro VECTOR number, handler
        pushw %ds
        pushw $0
        popw %ds
        movw $OFFSET(\handler), \number * 4
        movw $SEGMENT, \number * 4 + 2
        popw %ds
.endm

        /* Exceptions note their number and how far the pushed IP is from BX, and go on at DX. */
.macro HANDLER name, number
\name:
        movw %sp, %bp
        movw $\number, %ax
        NOTE
        movw (%bp), %ax
        subw %bx, %ax
        NOTE
        movw %dx, (%bp)
        iret
.endm
HANDLER on_divide, 0
HANDLER on_bound, 5
HANDLER on_invalid, 6
HANDLER on_stack, 12
HANDLER on_protection, 13

on_step:
        incw %cs:OFFSET(steps)
        iret
steps:  .word 0

on_overflow:
        movw $4, %ax
        NOTE
        iret

        /* Notes the flags inside, and what was pushed. */
on_int60:
        movw %sp, %bp
        pushfw
        popw %ax
        NOTE
        movw (%bp), %ax                 /* IP */
        subw %bx, %ax
        NOTE
        movw 2(%bp), %ax                /* CS */
        NOTE
        movw 4(%bp), %ax                /* FLAGS */
        NOTE
        iret

real_tests:
        cli
        cld
        VECTOR 0, on_divide
        VECTOR 1, on_step
        VECTOR 4, on_overflow
        VECTOR 5, on_bound
        VECTOR 6, on_invalid
        VECTOR 12, on_stack
        VECTOR 13, on_protection
        VECTOR 0x60, on_int60

        /* 0: 1234:0010 is 1235:0000. */
        RESULT 0
        movw $0x1234, %ax
        movw %ax, %ds
        movw $0xbeef, 0x10
        incw %ax
        movw %ax, %ds
        movw 0, %ax
        NOTE
        /* 1: FFFF:0010 is 1 MiB, where the Multiboot header lies (A20 is on). */
        RESULT 1
        movw $0xffff, %ax
        movw %ax, %ds
        movw 0x10, %ax
        NOTE
        movw $SEGMENT, %ax
        movw %ax, %ds
        /* 2: offsets wrap at 64 KiB. */
        RESULT 2
        movw $0x4321, SCRATCH
        movw $0xfff0, %bx
        movw $(SCRATCH + 0x10), %si
        movw (%bx, %si), %ax
        NOTE
        /* 3, 4: a word at FFFF does not wrap: #GP. */
        RESULT 3
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
1:      movw 0xffff, %ax
2:
        /* 5, 6: nor does one on the stack: #SS. */
        RESULT 5
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
        movw $0xffff, %si
1:      movw %ss:(%si), %ax
2:
        /* 7..10: INT clears IF and TF, IRET restores. */
        RESULT 7
        movw $OFFSET(1f), %bx
        pushw $0x0ad7                   /* OF, IF, TF off, SF, ZF, AF, PF, CF and no DF: see below */
        popfw
        cld
        int $0x60
1:      pushfw
        popw %ax
        cli
        NOTE                            /* 11 */
        /* 12, 13: the divide error is a fault. */
        RESULT 12
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
        xorw %cx, %cx
1:      divw %cx
2:
        /* 14, 15: BOUND. */
        RESULT 14
        movw $10, SCRATCH
        movw $20, SCRATCH + 2
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
        movw $21, %ax
1:      boundw %ax, SCRATCH
2:
        /* 16: INTO. */
        RESULT 16
        movb $0x7f, %al
        addb $1, %al
        into
        /* 17, 18: LOCK before a register operand. */
        RESULT 17
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
1:      .byte 0xf0, 0x01, 0xc0
2:
        /* 19: single step, five instructions and POPF's own successor rule. */
        RESULT 19
        pushfw
        popw %ax
        orw $0x100, %ax
        pushw %ax
        andw $~0x100, %ax
        pushw %ax
        popw %cx                        /* CX: without TF */
        popfw
        nop
        nop
        pushw %cx
        popfw
        movw OFFSET(steps), %ax
        NOTE

        /* 20, 21: string move over the end of a segment: DI wraps, memory follows. */
        RESULT 20
        pushw %es
        pushw %di
        movw $0x2000, %ax
        movw %ax, %es
        movw $0xfffc, %di
        movw $0x1111, %ax
        movw $4, %cx
        rep stosw
        movw %di, %dx
        movw %es:2, %bx
        popw %di
        popw %es
        movw %dx, %ax
        NOTE
        movw %bx, %ax
        NOTE
        /* 22: backwards. */
        RESULT 22
        movw $0x0201, SCRATCH
        movw $0x0403, SCRATCH + 2
        pushw %di
        std
        movw $(SCRATCH + 3), %si
        movw $(SCRATCH + 4), %di
        movw $4, %cx
        rep movsb
        cld
        popw %di
        movw SCRATCH + 1, %ax
        NOTE
        /* 23: address size 32 bits with a small ECX. */
        RESULT 23
        movl $0x00010002, %ecx
        pushw %di
        movl $SCRATCH, %edi
        movb $0x5a, %al
        rep stosb                       /* CX = 2 */
        popw %di
        movl %ecx, %eax
        shrl $16, %eax
        NOTE

        /* 24, 25: far call and far return with release. */
        RESULT 24
        movw %sp, %cx
        pushw $0xaaaa
        pushw $0xbbbb
        lcall $(SEGMENT + 1), $(OFFSET(far_routine) - 16)
        NOTE
        subw %sp, %cx
        movw %cx, %ax
        NOTE
        /* 26, 27: SP wraps. */
        RESULT 26
        movw %sp, %cx
        movw $0, %sp
        pushw $0x7777
        movw %sp, %ax
        movw %cx, %sp
        NOTE
        movw 0xfffe, %ax
        NOTE
        /* 28: operand size 32 bits moves SP by four. */
        RESULT 28
        movw %sp, %ax
        pushl $0x12345678
        subw %sp, %ax
        popl %edx
        NOTE
        /* 29: PUSHA and POPA. */
        RESULT 29
        movw $0x1357, %cx
        pusha
        xorw %cx, %cx
        popa
        movw %cx, %ax
        NOTE
        /* 30, 31: ENTER and LEAVE. */
        RESULT 30
        movw %sp, %cx
        movw $0x2468, %bp
        enter $8, $0
        movw %cx, %ax
        subw %sp, %ax
        leave
        NOTE
        movw %bp, %ax
        NOTE
        /* 32: IOPL and NT are free in real mode. */
        RESULT 32
        pushw $0x7002
        popfw
        pushfw
        popw %ax
        pushw $2
        popfw
        andw $0x7000, %ax
        NOTE
        /* 33..38: decimal arithmetic. */
        RESULT 33
        movb $0x79, %al
        addb $0x35, %al
        daa
        movb $0, %ah
        NOTE
        movb $0x35, %al
        subb $0x47, %al
        das
        movb $0, %ah
        NOTE
        movw $0x0009, %ax
        addb $8, %al
        aaa
        NOTE
        movw $0x0103, %ax
        subb $8, %al
        aas
        NOTE
        movw $0x0057, %ax
        aam
        NOTE
        movw $0x0807, %ax
        aad
        NOTE
        /* 39: XLAT with a segment override. */
        RESULT 39
        movw $SCRATCH, %bx
        movb $0x99, SCRATCH + 5
        movw $0x0005, %ax
        xlatb %ss:(%bx)
        NOTE
        /* 40, 41: LES. */
        RESULT 40
        pushw %es
        movw $0x1122, SCRATCH
        movw $0x3344, SCRATCH + 2
        lesw SCRATCH, %bx
        movw %es, %dx
        popw %es
        movw %bx, %ax
        NOTE
        movw %dx, %ax
        NOTE
        /* 42: LOOP counts CX, LOOP with a 67 prefix ECX. */
        RESULT 42
        movl $0x00010003, %ecx
        xorw %ax, %ax
1:      incw %ax
        loop 1b
        NOTE
        /* 43: 16-bit displacements wrap the instruction pointer. */
        RESULT 43
        movw $0xfff8, %bx
        movb $0xb8, (%bx)               /* movw $0x6543, %ax */
        movw $0x6543, 1(%bx)
        movb $0xe9, 3(%bx)              /* jmp over the end of the segment */
        movw $(OFFSET(1f) - 0xfffe), 4(%bx)
        jmp *%bx
1:      NOTE

        /* 44, 45: a 32-bit offset above 64 KiB: #GP. */
        RESULT 44
        movl $0x00100000, %esi
        movw $OFFSET(1f), %bx
        movw $OFFSET(2f), %dx
1:      addr32 movw (%esi), %ax
2:
        /* 46: "unreal": FS keeps the limit that it got in protected mode. */
        RESULT 46
        lgdtl OFFSET(low_gdt_pointer)
        movl %cr0, %eax
        orb $CR0_PE, %al
        movl %eax, %cr0
        movw $KERNEL_DS, %bx
        movw %bx, %fs
        andb $~CR0_PE, %al
        movl %eax, %cr0
        movl $0x00100000, %esi
        addr32 movw %fs:(%esi), %ax
        NOTE
        /* 47: loading FS in real mode sets the base only. */
        RESULT 47
        movw $SEGMENT, %ax
        movw %ax, %fs
        movl $(0x00100000 - BASE), %esi
        addr32 movw %fs:2(%esi), %ax
        NOTE

        /* 48..50: 16-bit and 32-bit protected mode, without paging. */
        RESULT 48
        movl %cr0, %eax
        orb $CR0_PE, %al
        movl %eax, %cr0
        ljmp $0x18, $OFFSET(protected_16)
protected_16:
        movw $0x28, %ax                 /* base 0x100000, limit 15 */
        movw %ax, %fs
        movw %fs:0, %ax
        NOTE
        movw $0x20, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        ljmpl $0x30, $LINEAR(protected_32)
        .code32
protected_32:
        movl $KERNEL_DS, %eax
        movl %eax, %ds
        movl 0x00100000, %eax
        movl %eax, LINEAR(found)
        call 1f
1:      popl %eax
        subl $1b, %eax                  /* 32-bit IP: where we run, less where we were linked */
        addl $(real_blob - BASE), %eax
        movl %eax, LINEAR(moved)
        ljmp $0x18, $OFFSET(protected_back)
        .code16
protected_back:
        movw $0x20, %ax
        movw %ax, %ds
        movl %cr0, %eax
        andb $~CR0_PE, %al
        movl %eax, %cr0
        ljmp $SEGMENT, $OFFSET(real_again)
real_again:
        movw $SEGMENT, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw OFFSET(found) + 2, %ax
        NOTE
        movw OFFSET(moved), %ax
        NOTE
        /* 51: SMSW. 52: CPUID is there too. */
        RESULT 51
        smsww %ax
        andw $1, %ax
        NOTE
        pushw %di
        xorl %eax, %eax
        cpuid
        popw %di
        xorl %eax, %eax
        cmpl $0x444d4163, %ecx
        sete %al
        cmpl $0x6c65746e, %ecx
        sete %ah
        orb %ah, %al
        movb $0, %ah
        NOTE
        movw $0x600d, %ax
        NOTE
        jmp real_up

far_routine:
        movw %sp, %bp
        movw 6(%bp), %ax                /* 0xaaaa, under 0xbbbb and the return address */
        lret $4

        .balign 8
found:  .long 0
moved:  .long 0
saved_cr0:
        .quad 0
saved_cr3:
        .quad 0
saved_cr4:
        .quad 0
real_idt_pointer:
        .word 0x3ff
        .long 0
low_gdt_pointer:
        .word low_gdt_end - low_gdt - 1
        .quad LINEAR(low_gdt)
        .balign 8
low_gdt:
        .quad 0
        .quad 0x00AF9B000000FFFF        /* 0x08: 64-bit code */
        .quad 0x00CF93000000FFFF        /* 0x10: flat data */
        .quad 0x00009B010000FFFF        /* 0x18: 16-bit code, base 0x10000 */
        .quad 0x000093010000FFFF        /* 0x20: 16-bit data, base 0x10000 */
        .quad 0x000093100000000F        /* 0x28: data, base 0x100000, limit 15 */
        .quad 0x00CF9B000000FFFF        /* 0x30: 32-bit code, flat */
low_gdt_end:
real_blob_end:

        .section .note.GNU-stack, "", @progbits
