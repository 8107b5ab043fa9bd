/* lodge: the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "cli/image.h"
#include "cli/run_options.h"
#include "port/log.h"
#include "vmm/run.h"

struct command {
    const char *name;
    const char *help;
    int (*run)(char **arguments);
};

/* Help that nobody could be shown is a failure: the disk behind stdout may be full. */
static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return VMM_EXIT_OK;
    log_error("cannot write to stdout: %s", strerror(errno));
    return VMM_EXIT_FAILED;
}

static int command_run(char **arguments)
{
    struct vmm_options options;

    switch (run_options_parse(arguments, &options)) {
    case PARSE_HELP:
        run_options_help();
        return finish_output();
    case PARSE_ERROR:
        return VMM_EXIT_USAGE;
    default:
        return vmm_run(&options);
    }
}

static const struct command commands[] = {
    {"run", "run one machine in the foreground, its console on this terminal", command_run},
    {"image", "make, check, resize and convert disk images", image_command},
};

static int print_help(void)
{
    printf("Usage: lodge COMMAND [OPTION]...\n"
           "Lodge runs x86-64 virtual machines, with or without KVM, without privileges.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        printf("  %-12s %s\n", commands[i].name, commands[i].help);
    printf("\n  lodge COMMAND --help tells the options of a command; lodge --version the version.\n");
    return finish_output();
}

/* Whoever started us may have closed the standard descriptors; a file of ours must not become stdout. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            _exit(VMM_EXIT_FAILED);
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    if (argc < 2) {
        log_error("no command given; try 'lodge --help'");
        return VMM_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0) {
        printf("lodge %s\n", LODGE_VERSION);
        return finish_output();
    }
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argv + 2);
    log_error("unknown command '%s'; try 'lodge --help'", argv[1]);
    return VMM_EXIT_USAGE;
}
