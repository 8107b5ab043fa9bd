/*
 * The smallest sign of life: reaches long mode, writes a line to the serial port and another to the
 * debug console, and ends with exit value 0. No stack frames, no interrupts, no C.
 */
        .text
        .globl guest_start
guest_start:
        movl $serial_text, %esi
        movl $0x3F8, %edx
        movl $(serial_end - serial_text), %ecx
1:      lodsb
        outb %al, %dx
        decl %ecx
        jnz 1b

        movl $debug_text, %esi
        movl $(debug_end - debug_text), %ecx
1:      lodsb
        outb %al, $0xE9
        decl %ecx
        jnz 1b

        xorl %eax, %eax
        movl $0xF4, %edx
        outl %eax, %dx
1:      hlt
        jmp 1b

        .section .rodata
serial_text:
        .ascii "hello: serial port, 0 failures\n"
serial_end:
debug_text:
        .ascii "hello: debug console, 0 failures\n"
debug_end:

        .section .note.GNU-stack, "", @progbits
