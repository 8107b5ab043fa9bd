#define _GNU_SOURCE
#include "boot_fixture.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "fake_port.h"
#include "unit.h"

void fixture_open(struct boot_fixture *fixture, uint64_t ram)
{
    void *host = mmap(NULL, ram, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(host != MAP_FAILED);
    memset(host, 0xcc, 4 * FIXTURE_MIB);
    *fixture = (struct boot_fixture){.request = {.kernel = {.name = "vmlinuz"}, .physical_bits = 39}};
    assert_int_equal(memory_init(&fixture->memory, host, -1, ram), STATUS_OK);
    cpu_state_reset(&fixture->bsp, 0x50654);
    acpi_machine_init(&fixture->request.machine, 2);
    fixture->request.modules = fixture->modules;
    (void)fake_log_count();
}

void fixture_close(struct boot_fixture *fixture)
{
    munmap(fixture->memory.host, fixture->memory.size);
}

void fixture_kernel(struct boot_fixture *fixture, const void *bytes, size_t size)
{
    fixture->request.kernel.bytes = bytes;
    fixture->request.kernel.size = size;
}

void fixture_module(struct boot_fixture *fixture, const char *name, const void *bytes, size_t size)
{
    assert_true(fixture->request.module_count < ARRAY_LENGTH(fixture->modules));
    fixture->modules[fixture->request.module_count++] = (struct boot_file){.name = name, .bytes = bytes, .size = size};
}

enum status fixture_load(struct boot_fixture *fixture)
{
    enum status status = boot_load(&fixture->request, &fixture->memory, &fixture->bsp);

    if (status == STATUS_OK)
        assert_true(cpu_state_schema.valid(&fixture->bsp));
    return status;
}

void fixture_refused(struct boot_fixture *fixture, enum status status, const char *text)
{
    struct cpu_state before = fixture->bsp;

    (void)fake_log_count();
    assert_int_equal(fixture_load(fixture), status);
    assert_memory_equal(&before, &fixture->bsp, sizeof(before));
    assert_int_equal(fake_log_count(), 1);
    if (!strstr(fake_log_line, text))
        fail_msg("\"%s\" is not in: %s", text, fake_log_line);
}

uint64_t fixture_get(const struct boot_fixture *fixture, uint64_t address, unsigned size)
{
    const void *host = memory_at(&fixture->memory, address, size, false);

    assert_non_null(host);
    return load_le(host, size);
}

const char *fixture_string(const struct boot_fixture *fixture, uint64_t address)
{
    const char *host = memory_at(&fixture->memory, address, 1, false);

    assert_non_null(host);
    return host;
}

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    long length = 0;
    void *bytes = NULL;

    if (!file)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0 &&
        (bytes = malloc((size_t)length)) != NULL && fread(bytes, 1, (size_t)length, file) != (size_t)length) {
        free(bytes);
        bytes = NULL;
    }
    (void)fclose(file);
    *size = (size_t)length;
    return bytes;
}

void *fixture_real_kernel(size_t *size)
{
    const char *path = getenv("LODGE_TEST_KERNEL");
    void *bytes = path ? read_file(path, size) : NULL;
    glob_t found;

    if (!bytes && glob("/boot/vmlinuz-*", 0, NULL, &found) == 0) {
        bytes = read_file(found.gl_pathv[0], size);
        globfree(&found);
    }
    return bytes;
}
