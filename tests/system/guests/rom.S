/*
 * A firmware of 64 KiB that tests what firmware stands on: ROM that stays as it is, flash that is programmed, also while
 * another processor reads it, code in flash, fw_cfg. Ends with --debug-exit: 0x10 if all is well, else the number of
 * the check. Needs a variable store of 16 KiB of ones, and two processors.
 */
#define ROM 0xffff0000
#define FLASH (ROM - 0x4000)
#define TRAMPOLINE 0x8000
#define READY 0x7000
#define DONE 0x7004

        .text
        .globl _start
_start:

        .code32
start32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x6000, %esp

        movl    $1, %ebp                /* 1: loading them has not marked the descriptors as accessed */
        cmpb    $0x9a, gdt + 8 + 5
        jne     fail
        cmpb    $0x92, gdt + 16 + 5
        jne     fail

        movl    $2, %ebp                /* 2: writes of all kinds to ROM vanish */
        movl    word, %ebx
        movl    $0, word
        lock incl word
        movb    $1, word + 1
        fninit
        fldpi
        fstpl   word
        movl    $word, %edi
        movl    $3, %ecx
        xorl    %eax, %eax
        rep stosl
        cmpl    %ebx, word
        jne     fail
        xchgl   %eax, word
        cmpl    %ebx, %eax
        jne     fail
        cmpl    %ebx, word
        jne     fail

        movl    $3, %ebp                /* 3: fw_cfg */
        movw    $0x510, %dx
        xorl    %eax, %eax
        outw    %ax, %dx
        incl    %edx
        inb     %dx, %al
        cmpb    $'Q', %al
        jne     fail

        movl    $4, %ebp                /* 4: modes; the page is known to be readable before */
        movl    $FLASH, %esi
        cmpb    $0xff, (%esi)
        jne     fail
        movb    $0x90, (%esi)
        cmpb    $0x89, (%esi)
        jne     fail
        movb    $0x50, (%esi)
        cmpb    $0xff, (%esi)
        jne     fail
        movb    $0x70, (%esi)
        cmpb    $0, (%esi)
        jne     fail
        movb    $0xff, (%esi)
        cmpb    $0xff, (%esi)
        jne     fail

        movl    $5, %ebp                /* 5: program, byte by byte and by a string instruction */
        movb    $0x10, 7(%esi)
        movb    $0x5a, 7(%esi)
        cmpb    $0x80, (%esi)
        jne     fail
        movb    $0xff, (%esi)
        cmpb    $0x5a, 7(%esi)
        jne     fail
        movl    $program, %esi
        movl    $FLASH + 0x100, %edi
        movl    $3, %ecx
        rep movsb
        cmpb    $0x33, FLASH + 0x101
        jne     fail

        movl    $6, %ebp                /* 6: code in flash, and other code in its place */
        movl    $first, %esi
        call    put_code
        call    run_code
        cmpl    $1, %eax
        jne     fail
        movb    $0x70, FLASH
        movb    $0xff, FLASH
        call    run_code
        cmpl    $1, %eax
        jne     fail
        movb    $0x20, FLASH + 0x1000
        movb    $0xd0, FLASH + 0x1000
        movb    $0xff, FLASH
        cmpb    $0xff, FLASH + 0x1000
        jne     fail
        movl    $second, %esi
        call    put_code
        call    run_code
        cmpl    $2, %eax
        jne     fail

        movl    $7, %ebp                /* 7: another processor, which reads flash all the time, sees it go */
        movl    $trampoline, %esi
        movl    $TRAMPOLINE, %edi
        movl    $trampoline_end - trampoline, %ecx
        rep movsb
        movl    $0, READY
        movl    $0, DONE
        movl    $0x000c4500, 0xfee00300 /* INIT to all others */
        call    pause_a_while
        movl    $0x000c4600 + TRAMPOLINE / 0x1000, 0xfee00300
        movl    $READY, %esi
        call    wait_for
        movb    $0x90, FLASH
        movl    $DONE, %esi
        call    wait_for
        movb    $0xff, FLASH

        movl    $8, %ebp                /* 8: this is to be in the file */
        movb    $0x10, FLASH + 0x3000
        movb    $'k', FLASH + 0x3000
        movb    $0xff, FLASH
        cmpb    $'k', FLASH + 0x3000
        jne     fail
        movl    $0x10, %ebp
fail:
        movl    %ebp, %eax
        outb    %al, $0xf4
1:      hlt
        jmp     1b

/* Programs eight bytes of code from ESI. */
put_code:
        movl    $FLASH + 0x1000, %edi
        movl    $8, %ecx
1:      movb    $0x10, (%edi)
        lodsb
        movb    %al, (%edi)
        incl    %edi
        loop    1b
        movb    $0xff, FLASH
        ret

run_code:
        movl    $FLASH + 0x1000, %eax
        jmp     *%eax

pause_a_while:
        movl    $10000, %ecx
1:      inb     $0x80, %al
        loop    1b
        ret

/* Until the word at ESI is not zero, a second or more; else the check has failed. */
wait_for:
        movl    $10000000, %ecx
1:      cmpl    $0, (%esi)
        jne     2f
        pause
        loop    1b
        jmp     fail
2:      ret

other32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss                /* all flat, or an engine may take the long way to memory */
        cmpb    $0xff, FLASH
        movl    $1, READY
1:      cmpb    $0x89, FLASH
        jne     1b
        movl    $1, DONE
2:      hlt
        jmp     2b

program:
        .byte   0x10, 0x33, 0xff
first:
        .byte   0xb8, 1, 0, 0, 0, 0xc3, 0x90, 0x90      /* mov $1, %eax; ret */
second:
        .byte   0xb8, 2, 0, 0, 0, 0xc3, 0x90, 0x90
        .balign 16
word:
        .long   0x12345678, 0x9abcdef0, 0x0f1e2d3c

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9a000000ffff
        .quad   0x00cf92000000ffff
gdtr:
        .word   gdtr - gdt - 1
        .long   gdt

        .code16
trampoline:
        lgdtl   %cs:trampoline_gdtr - trampoline
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $other32
trampoline_gdtr:
        .word   gdtr - gdt - 1
        .long   gdt
trampoline_end:

start16:
        cli
        lgdtl   %cs:gdtr - _start
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $start32

        .org    0xfff0
        jmp     start16
        .org    0x10000
