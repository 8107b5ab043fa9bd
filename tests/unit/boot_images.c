#include "boot_images.h"

#include <string.h>

#include "base/bits.h"

void boot_image_make_bzimage(uint8_t *image)
{
    memset(image, 0, BZIMAGE_SETUP);
    for (size_t i = 0; i < BZIMAGE_PAYLOAD; i++)
        image[BZIMAGE_SETUP + i] = (uint8_t)(0x90 + i);
    store_le(image + 0x1f1, 1, BZIMAGE_SETUP / 512 - 1);
    store_le(image + 0x1f4, 4, BZIMAGE_PAYLOAD / 16);
    store_le(image + 0x1fe, 2, 0xaa55);
    store_le(image + 0x200, 2, 0x6aeb);
    memcpy(image + 0x202, "HdrS", 4);
    store_le(image + 0x206, 2, 0x20f);
    store_le(image + 0x211, 1, 1);
    store_le(image + 0x22c, 4, 0x7fffffff);
    store_le(image + 0x230, 4, 0x200000);
    store_le(image + 0x234, 1, 1);
    store_le(image + 0x235, 1, 21);
    store_le(image + 0x236, 2, 0x3);
    store_le(image + 0x238, 4, 2047);
    store_le(image + 0x258, 8, 0x1000000);
    store_le(image + 0x260, 4, 0x100000);
}

static void make_note(uint8_t *note)
{
    store_le(note, 4, 4);
    store_le(note + 4, 4, 4);
    store_le(note + 8, 4, 18);
    memcpy(note + 12, "Xen", 4);
    store_le(note + 16, 4, ELF_LOAD + 0x80);
}

static void make_elf64(uint8_t *image, int note)
{
    const uint64_t load[] = {0x500, 0xffffffff80100000, ELF_LOAD, 0x200, 0x1200, 0x1000};

    store_le(image + 18, 2, 62);
    store_le(image + 24, 8, 0xffffffff80100040);
    store_le(image + 32, 8, 64);
    store_le(image + 54, 2, 56);
    store_le(image + 56, 2, note ? 2 : 1);
    store_le(image + 64, 4, 1);
    for (size_t i = 0; i < 6; i++)
        store_le(image + 64 + 8 + 8 * i, 8, load[i]);
    if (note) {
        store_le(image + 120, 4, 4);
        store_le(image + 120 + 8, 8, ELF_NOTE);
        store_le(image + 120 + 32, 8, 20);
        store_le(image + 120 + 48, 8, 4);
    }
}

static void make_elf32(uint8_t *image, int note)
{
    const uint32_t load[] = {0x500, 0xc0100000, ELF_LOAD, 0x200, 0x1200, 7, 0x1000};

    store_le(image + 18, 2, 3);
    store_le(image + 24, 4, 0xc0100040);
    store_le(image + 28, 4, 52);
    store_le(image + 42, 2, 32);
    store_le(image + 44, 2, note ? 2 : 1);
    store_le(image + 52, 4, 1);
    for (size_t i = 0; i < 7; i++)
        store_le(image + 52 + 4 + 4 * i, 4, load[i]);
    if (note) {
        store_le(image + 84, 4, 4);
        store_le(image + 84 + 4, 4, ELF_NOTE);
        store_le(image + 84 + 16, 4, 20);
        store_le(image + 84 + 28, 4, 4);
    }
}

void boot_image_make_elf(uint8_t *image, int bits, int note)
{
    memset(image, 0, ELF_SIZE);
    memcpy(image, "\177ELF", 4);
    image[4] = bits == 64 ? 2 : 1;
    image[5] = image[6] = 1;
    store_le(image + 16, 2, 2);
    store_le(image + 20, 4, 1);
    for (size_t i = 0; i < 0x200; i++)
        image[0x500 + i] = (uint8_t)(i ^ 0x5a);
    if (bits == 64)
        make_elf64(image, note);
    else
        make_elf32(image, note);
    if (note)
        make_note(image + ELF_NOTE);
}

void boot_image_add_multiboot(uint8_t *image, size_t at, uint32_t flags)
{
    store_le(image + at, 4, 0x1badb002);
    store_le(image + at + 4, 4, flags);
    store_le(image + at + 8, 4, 0u - 0x1badb002u - flags);
}
