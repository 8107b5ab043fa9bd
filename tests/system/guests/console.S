/*
 * A guest for the tests of the program around it: a Multiboot kernel that answers on COM1, by
 * polling, in 32-bit mode without paging. It says "ready", then echoes, except for these commands:
 *
 *   q  power off          r  restart             t  triple fault
 *   x  debug exit, 21     f  write without end   e  run without end
 */
    .set COM1, 0x3f8
    .set LSR, COM1 + 5
    .set LSR_DR, 1
    .set LSR_THRE, 0x20
    .set PM1_CONTROL, 0x604
    .set PM1_S5, 0x2000 | 7 << 10
    .set RESET_CONTROL, 0xcf9
    .set DEBUG_EXIT, 0xf4

    .section .boot, "a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .globl _start
_start:
    movl $stack, %esp
    movl $ready, %esi
1:  lodsb
    testb %al, %al
    jz 2f
    call put
    jmp 1b

2:  call get
    cmpb $'q', %al
    je power_off
    cmpb $'r', %al
    je restart
    cmpb $'t', %al
    je triple_fault
    cmpb $'x', %al
    je debug_exit
    cmpb $'f', %al
    je flood
    cmpb $'e', %al
    je 3f
    call put
    jmp 2b
3:  jmp 3b

power_off:
    movw $PM1_CONTROL, %dx
    movw $PM1_S5, %ax
    outw %ax, %dx
    jmp stop
restart:
    movw $RESET_CONTROL, %dx
    movb $2, %al
    outb %al, %dx
    movb $6, %al
    outb %al, %dx
    jmp stop
triple_fault:
    lidt no_idt
    int3
debug_exit:
    movl $21, %eax
    outl %eax, $DEBUG_EXIT
stop:
    cli
    hlt
    jmp stop
flood:
    movb $'0', %al
    movl $63, %ecx
1:  call put
    loop 1b
    movb $'\n', %al
    call put
    jmp flood

put:                                # %al
    pushl %eax
    movw $LSR, %dx
1:  inb %dx, %al
    testb $LSR_THRE, %al
    jz 1b
    popl %eax
    movw $COM1, %dx
    outb %al, %dx
    ret

get:                                # %al
    movw $LSR, %dx
1:  inb %dx, %al
    testb $LSR_DR, %al
    jz 1b
    movw $COM1, %dx
    inb %dx, %al
    ret

    .section .rodata
ready:
    .asciz "ready\n"
no_idt:
    .word 0
    .long 0

    .bss
    .balign 16
    .skip 4096
stack:
    .section .note.GNU-stack, "", @progbits
