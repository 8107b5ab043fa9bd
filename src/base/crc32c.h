/* CRC-32C (Castagnoli), the checksum of Lodge's own formats: RFC 3720, appendix B.4. */
#ifndef LODGE_BASE_CRC32C_H
#define LODGE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes; previous is 0, or the result for the bytes before them. */
uint32_t crc32c(uint32_t previous, const void *bytes, size_t size);

#endif
