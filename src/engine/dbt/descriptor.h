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
    ACCESS_MASKED = 1 << 13,     /* a vector mask suppresses faults of elements: bytes that are not accessible read as zero */
    ACCESS_SEGMENT_SHIFT = 16,   /* enum segment */
};

#endif
