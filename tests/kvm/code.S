/* What the guests of test_kvm_engine.c do: 64-bit code, copied to CODE in guest memory. */
    .section .rodata

#define GUEST(name)                                                                                                    \
    .globl guest_##name;                                                                                               \
    .globl guest_##name##_end;                                                                                         \
    .balign 16;                                                                                                        \
    guest_##name :

/* Writes one byte to RCX pages from RDI, each RSI bytes after the last, and says so at port 0x99. */
GUEST(write_pages)
    movb $1, (%rdi)
    addq %rsi, %rdi
    decq %rcx
    jnz guest_write_pages
    outb %al, $0x99
    jmp .
guest_write_pages_end:

GUEST(spin)
    jmp .
guest_spin_end:

/* Rings RCX times at RDI, then again at the next place, and says so. */
GUEST(ring)
    movw $7, (%rdi)
    decq %rcx
    jnz guest_ring
    movw $7, 4(%rdi)
    outb %al, $0x99
    jmp .
guest_ring_end:

/* For the debugger: offsets 0, 1, 2, 5 and 12 are where instructions begin. */
GUEST(debug)
    nop
    int3
    incl %eax
    nop
    movb $5, 0x3000
    nop
    jmp .
guest_debug_end:

/* Reads port 0x98 into EAX for ever. */
GUEST(read_port)
    inl $0x98, %eax
    jmp guest_read_port
guest_read_port_end:

    .section .note.GNU-stack, "", @progbits
