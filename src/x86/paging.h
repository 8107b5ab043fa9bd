/* Page-table entries and page-fault error codes (Intel SDM volume 3, sections 4.5 to 4.7). */
#ifndef LODGE_X86_PAGING_H
#define LODGE_X86_PAGING_H

#include "base/bits.h"

/* 64-bit entries: PAE and 4-level paging. The low 12 bits are the same in 32-bit entries. */
#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_PWT BIT64(3)
#define PTE_PCD BIT64(4)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)              /* in a directory entry: it maps a large page */
#define PTE_PAT BIT64(7)             /* in a 4 KiB entry */
#define PTE_G BIT64(8)
#define PTE_PAT_LARGE BIT64(12)      /* in an entry that maps a large page */
#define PTE_NX BIT64(63)
#define PTE_ADDRESS 0x000ffffffffff000ull /* bits 51..12 */

/* The error code of #PF. */
#define PF_P BIT(0)                  /* the page was present: a protection violation */
#define PF_W BIT(1)
#define PF_U BIT(2)
#define PF_RSVD BIT(3)
#define PF_I BIT(4)                  /* an instruction fetch, with NXE or SMEP */
#define PF_PK BIT(5)

#endif
