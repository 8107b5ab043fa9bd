/*
 * The first two sectors of a disk: says hello through the BIOS, reads the second sector and says what is there, and powers
 * the machine off.
 */
        .code16
        .text
        .globl _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        movb    %dl, drive
        movw    $hello, %si
        call    say
        movb    $0x42, %ah              /* extended read */
        movb    drive, %dl
        movw    $packet, %si
        int     $0x13
        jc      failed
        movw    $0x7e00, %si
        call    say
        movw    $0x604, %dx
        movw    $0x3c00, %ax            /* S5 */
        outw    %ax, %dx
failed:
        movw    $failure, %si
        call    say
1:      hlt
        jmp     1b

say:
        lodsb
        testb   %al, %al
        jz      1f
        movb    $0x0e, %ah
        movw    $7, %bx
        int     $0x10
        jmp     say
1:      ret

hello:
        .asciz  "first sector\r\n"
failure:
        .asciz  "the disk cannot be read\r\n"
drive:
        .byte   0
        .balign 4
packet:
        .byte   16, 0
        .word   1, 0x7e00, 0
        .quad   1

        .org    510
        .word   0xaa55
        .asciz  "second sector\r\n"
