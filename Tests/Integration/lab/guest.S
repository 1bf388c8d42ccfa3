# A guest in a boot sector: it prints that it is ready and echoes its serial port, sleeping in between.
#
# It stays in real mode. Every interrupt except the serial port's is masked, so a guest without input
# never wakes its emulator: many guests cost no more than their memory.
#
# Assembled with FILL_END, it first fills its memory from 1 MiB up to that address with pseudo-random words, so that
# a migration can neither skip nor compress it.
.code16
.globl _start
.set UART, 0x3f8
.set LINE_STATUS, 5            # register number; bit 0: a byte was received, bit 5: a byte can be sent
.set FILL_START, 0x100000
.set IRQ4, 0x0c                # the vector that the firmware uses for the serial port's interrupt

_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $_start, %sp          # the stack grows down from here
    ljmp $0, $1f
1:
    movw $echo, IRQ4 * 4
    movw %ax, IRQ4 * 4 + 2

.ifdef FILL_END
    # Beyond the first mebibyte: open the 21st address line, and give ES, which starts at 0 as in real mode, a limit
    # of 4 GiB by a short visit to protected mode. Loading it again changes its start and not its limit.
    inb $0x92, %al
    orb $2, %al
    outb %al, $0x92
    lgdtl table_register
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $8, %bx
    movw %bx, %es
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx
    movw %bx, %es
    cld
    movl $FILL_START, %edi
    movl $0x1f123bb5, %eax     # any number
6:  imull $0x2c9277b5, %eax, %eax
    addl $0x6d2b79f5, %eax
    addr32 stosl
    cmpl $FILL_END, %edi
    jb 6b
.endif

    # A screen for screenshots: every character in every colour on the whole 80 x 25 text page, and no
    # cursor, whose blinking would make two screenshots differ.
    movw $0x3d4, %dx
    movw $0x200a, %ax
    outw %ax, %dx
    movw $0xb800, %bx
    movw %bx, %es
    xorw %di, %di
    cld
    movw $80 * 25, %cx
2:  movw %di, %ax
    shrw $1, %ax
    movb %al, %ah
    stosw
    loop 2b

    movw $setup, %si
3:  lodsw
    testb %al, %al
    jz 4f
    movzbw %al, %dx
    addw $UART - 0x10, %dx     # register numbers are stored plus 0x10, as 0 ends the list
    movb %ah, %al
    outb %al, %dx
    jmp 3b

4:  movw $ready, %si
    movw $ready_end - ready, %cx
    movw $UART, %dx
    rep outsb                  # at most the port's queue of 16

    movb $0xef, %al            # first interrupt controller: only line 4
    outb %al, $0x21
    movb $0xff, %al            # second: nothing
    outb %al, $0xa1
    sti
5:  hlt
    jmp 5b

echo:                          # the interrupt: sends all received bytes back, as fast as the port accepts them
    movw $UART + LINE_STATUS, %dx
    inb %dx, %al
    testb $1, %al
    jz 7f
    testb $0x20, %al
    jz echo
    movw $UART, %dx
    inb %dx, %al
    outb %al, %dx
    jmp echo
7:  movb $0x20, %al
    outb %al, $0x20
    iret

setup:                         # register + 0x10, value
    .byte 0x13, 0x80           # the next two are the speed
    .byte 0x10, 1              # 115200 bit/s
    .byte 0x11, 0
    .byte 0x13, 0x03           # eight bits, no parity, one stop bit
    .byte 0x12, 0xc7           # queues on and empty, interrupt at 14 bytes or when the line is idle
    .byte 0x14, 0x0b           # ready, interrupts enabled
    .byte 0x11, 0x01           # interrupt on a received byte
    .byte 0, 0
ready:
    .ascii "guest ready\r\n"
ready_end:

.ifdef FILL_END
.balign 8
table: .quad 0
    .quad 0x00cf92000000ffff   # data: from 0, 4 GiB
table_register: .word . - table - 1
    .long table
.endif

.org 510
.word 0xaa55
