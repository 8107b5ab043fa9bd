/*
 * A guest whose first instructions say that they run: a character on the serial port, then the end. An ELF
 * file with a PVH note (Xen's docs/misc/pvh.pandoc), the shortest way into a guest that QEMU's microvm and
 * Lodge have in common.
 */
        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 8, 18          /* name's size, contents' size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .quad first

        .text
        .code32
        .globl first
first:
        movw $0x3F8, %dx
        movb $'!', %al
        outb %al, %dx
        movb $'\n', %al
        outb %al, %dx
        xorl %eax, %eax
        outb %al, $0xF4
1:      hlt
        jmp 1b

        .section .note.GNU-stack, "", @progbits
