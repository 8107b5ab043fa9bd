/*
 * Control, flag and debug register bits, spelled as in the Intel SDM (volume 3, chapter 2 and 17).
 *
 * Macros, not enums: C17 gives an enumerator the type int, and ~CR0_WP must not sign-extend or
 * truncate when it meets a 64-bit register.
 */
#ifndef LODGE_X86_REGS_H
#define LODGE_X86_REGS_H

#include "base/bits.h"

#define CR0_PE BIT64(0)
#define CR0_MP BIT64(1)
#define CR0_EM BIT64(2)
#define CR0_TS BIT64(3)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_AM BIT64(18)
#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
#define CR0_PG BIT64(31)

#define CR3_PWT BIT64(3)
#define CR3_PCD BIT64(4)
#define CR3_PCID 0xfffull            /* with CR4.PCIDE */
#define CR3_NO_FLUSH BIT64(63)       /* in a MOV to CR3 with CR4.PCIDE; never stored */

#define CR4_VME BIT64(0)
#define CR4_PVI BIT64(1)
#define CR4_TSD BIT64(2)
#define CR4_DE BIT64(3)
#define CR4_PSE BIT64(4)
#define CR4_PAE BIT64(5)
#define CR4_MCE BIT64(6)
#define CR4_PGE BIT64(7)
#define CR4_PCE BIT64(8)
#define CR4_OSFXSR BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP BIT64(11)
#define CR4_LA57 BIT64(12)
#define CR4_VMXE BIT64(13)
#define CR4_SMXE BIT64(14)
#define CR4_FSGSBASE BIT64(16)
#define CR4_PCIDE BIT64(17)
#define CR4_OSXSAVE BIT64(18)
#define CR4_SMEP BIT64(20)
#define CR4_SMAP BIT64(21)
#define CR4_PKE BIT64(22)
#define CR4_CET BIT64(23)
#define CR4_PKS BIT64(24)

#define CR8_TPR 0xfull

#define EFER_SCE BIT64(0)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NXE BIT64(11)
#define EFER_SVME BIT64(12)
#define EFER_LMSLE BIT64(13)
#define EFER_FFXSR BIT64(14)
#define EFER_TCE BIT64(15)

#define RFLAGS_CF BIT64(0)
#define RFLAGS_FIXED BIT64(1)        /* always reads as one */
#define RFLAGS_PF BIT64(2)
#define RFLAGS_AF BIT64(4)
#define RFLAGS_ZF BIT64(6)
#define RFLAGS_SF BIT64(7)
#define RFLAGS_TF BIT64(8)
#define RFLAGS_IF BIT64(9)
#define RFLAGS_DF BIT64(10)
#define RFLAGS_OF BIT64(11)
#define RFLAGS_IOPL (BIT64(12) | BIT64(13))
#define RFLAGS_NT BIT64(14)
#define RFLAGS_RF BIT64(16)
#define RFLAGS_VM BIT64(17)
#define RFLAGS_AC BIT64(18)
#define RFLAGS_VIF BIT64(19)
#define RFLAGS_VIP BIT64(20)
#define RFLAGS_ID BIT64(21)
#define RFLAGS_IOPL_SHIFT 12
#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

#define DR6_B0 BIT64(0)
#define DR6_B1 BIT64(1)
#define DR6_B2 BIT64(2)
#define DR6_B3 BIT64(3)
#define DR6_BD BIT64(13)
#define DR6_BS BIT64(14)
#define DR6_BT BIT64(15)
#define DR6_RTM BIT64(16)            /* reads as one without RTM */
#define DR6_FIXED 0xffff0ff0ull      /* the bits that read as one */
#define DR6_RESET 0xffff0ff0ull

#define DR7_L0 BIT64(0)
#define DR7_G0 BIT64(1)
#define DR7_L1 BIT64(2)
#define DR7_G1 BIT64(3)
#define DR7_L2 BIT64(4)
#define DR7_G2 BIT64(5)
#define DR7_L3 BIT64(6)
#define DR7_G3 BIT64(7)
#define DR7_LE BIT64(8)
#define DR7_GE BIT64(9)
#define DR7_FIXED BIT64(10)          /* always reads as one */
#define DR7_RTM BIT64(11)
#define DR7_GD BIT64(13)
#define DR7_ENABLES 0xffull          /* L0..G3 */
#define DR7_RW_SHIFT(n) (16 + 4 * (n))  /* two bits: 0 execute, 1 write, 2 I/O, 3 read or write */
#define DR7_LEN_SHIFT(n) (18 + 4 * (n)) /* two bits: 0 one byte, 1 two, 3 four, 2 eight */
#define DR7_RESET 0x400ull

#define XCR0_X87 BIT64(0)
#define XCR0_SSE BIT64(1)
#define XCR0_AVX BIT64(2)
#define XCR0_BNDREGS BIT64(3)
#define XCR0_BNDCSR BIT64(4)
#define XCR0_OPMASK BIT64(5)
#define XCR0_ZMM_HI256 BIT64(6)
#define XCR0_HI16_ZMM BIT64(7)
#define XCR0_PKRU BIT64(9)
#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

#define MXCSR_RESET 0x1f80u
#define FCW_RESET 0x0040u            /* after RESET; FNINIT sets FCW_FNINIT */
#define FCW_FNINIT 0x037fu

/* Selector fields. */
#define SELECTOR_RPL 0x0003u
#define SELECTOR_TI 0x0004u
#define SELECTOR_INDEX 0xfff8u

#endif
