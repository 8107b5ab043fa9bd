/* What translated code tells memory_pre() of an access (r11d). */
#ifndef LODGE_ENGINE_DBT_DESCRIPTOR_H
#define LODGE_ENGINE_DBT_DESCRIPTOR_H

enum access_descriptor {
    ACCESS_SIZE = 0xff,          /* bytes, 1..64 */
    ACCESS_WRITE = 1 << 8,
    ACCESS_READ = 1 << 9,
    ACCESS_STACK = 1 << 10,      /* through SS: #SS where others get #GP */
    ACCESS_LOCK = 1 << 11,
    ACCESS_SEGMENTED = 1 << 12,  /* the address is an offset in a segment that is not flat */
    ACCESS_MASKED = 1 << 13,     /* a vector mask selects elements; the others are not accessed and cannot fault */
    ACCESS_ALIGNED = 1 << 14,    /* #GP if the address is not a multiple of the size */
    ACCESS_X87 = 1 << 15,        /* by an instruction that first reports a pending x87 exception */
    ACCESS_UNFINISHED = 1 << 30, /* a write that is not the instruction's last act: RSP changes after it */
    ACCESS_SEGMENT_SHIFT = 16,   /* enum segment */
    /* With ACCESS_MASKED: */
    ACCESS_MASK_SHIFT = 19,      /* number of the opmask, or of the vector register whose signs select (4 bits) */
    ACCESS_ELEMENT_SHIFT = 23,   /* log2 of an element's bytes (2 bits) */
    ACCESS_COUNT_SHIFT = 25,     /* log2 of the number of mask bits; more than elements: they take turns (3 bits) */
    ACCESS_KIND_SHIFT = 28,      /* enum access_mask_kind */
};

/* MASK_PACKED: as many elements as the mask has bits, side by side (compress, expand). */
enum access_mask_kind { MASK_ELEMENTS, MASK_PACKED, MASK_SIGNS };

#endif
