/*
 * `lodge image build`: checks what is asked for, and lets the program share/lodge/build-debian do it, in a
 * folder of its own beside the new image. What comes back is a raw disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "cli/image.h"
#include "port/log.h"

#define BUILD_SIZE_DEFAULT (8ull << 30)
#define BUILD_SIZE_LEAST (1ull << 30)
#define BUILD_SIZE_MOST (1ull << 44) /* ext4's own limit with its default blocks */

#define TRY_HELP "; try 'lodge image build --help'"

extern char **environ;

struct build {
    const char *output;
    char *builder, *folder, *disk;
};

static volatile sig_atomic_t build_child, build_signal;

/*
 * The builder and all that it runs are a group of processes: they get what this process gets, once, whether it came
 * from a terminal or was meant for this process alone.
 */
static void build_on_signal(int number)
{
    build_signal = number;
    if (build_child > 0)
        (void)kill(-(pid_t)build_child, number);
}

static bool hostname_is_valid(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
    size_t length = strlen(name);

    return length >= 1 && length <= 63 && name[0] != '-' && name[0] != '.' && strspn(name, letters) == length;
}

/* They go into a command line: a name, or a name and what apt allows behind it. */
static bool packages_are_valid(const char *names)
{
    return names[0] != '-' &&
           strspn(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.:~=/, ") == strlen(names);
}

static bool build_check(const struct image_arguments *arguments, const char *output)
{
    struct stat stat;

    if (strcmp(arguments->names[0], "debian") != 0) {
        log_error("there is no builder for '%s' (there is: debian)" TRY_HELP, arguments->names[0]);
    } else if (arguments->disk_size && (arguments->disk_size < BUILD_SIZE_LEAST ||
                                        arguments->disk_size > BUILD_SIZE_MOST || arguments->disk_size % 512)) {
        log_error("--size takes 1G to 16T, a multiple of 512 bytes" TRY_HELP);
    } else if (arguments->hostname && !hostname_is_valid(arguments->hostname)) {
        log_error("--hostname takes up to 63 letters, digits, dots and dashes, not '%s'" TRY_HELP, arguments->hostname);
    } else if (arguments->packages && !packages_are_valid(arguments->packages)) {
        log_error("--packages takes names with commas between them, not '%s'" TRY_HELP, arguments->packages);
    } else {
        if (lstat(output, &stat) != 0)
            return true;
        log_error("%s exists; remove it, or choose another name", output);
    }
    return false;
}

/* ../share/lodge/build-debian, from the folder that this program is in. */
static char *build_find_builder(void)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char *builder = NULL;

    if (length > 0) {
        program[length] = '\0';
        *strrchr(program, '/') = '\0';
        if (asprintf(&builder, "%s/../share/lodge/build-debian", program) < 0)
            builder = NULL;
    }
    if (builder && access(builder, X_OK) == 0)
        return builder;
    log_error("cannot run %s: %s; is Lodge installed completely?", builder ? builder : "the builder", strerror(errno));
    free(builder);
    return NULL;
}

static bool build_prepare(struct build *build)
{
    build->builder = build_find_builder();
    if (!build->builder)
        return false;
    if (asprintf(&build->folder, "%s.build.XXXXXX", build->output) < 0)
        build->folder = NULL;
    else if (!mkdtemp(build->folder)) {
        log_error("cannot make a folder beside %s: %s", build->output, strerror(errno));
        free(build->folder);
        build->folder = NULL;
        return false;
    }
    if (!build->folder || asprintf(&build->disk, "%s/disk", build->folder) < 0) {
        build->disk = NULL;
        log_error("no memory to build %s", build->output);
        return false;
    }
    return true;
}

static int build_remove(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat, (void)type, (void)walk;
    return remove(path);
}

static void build_put_away(struct build *build)
{
    if (build->folder && nftw(build->folder, build_remove, 16, FTW_DEPTH | FTW_PHYS) != 0)
        log_error("cannot remove %s: %s", build->folder, strerror(errno));
    free(build->builder);
    free(build->folder);
    free(build->disk);
}

static void build_watch_signals(bool watch)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = watch ? build_on_signal : SIG_DFL};

    for (size_t i = 0; i < ARRAY_LENGTH(signals); i++)
        (void)sigaction(signals[i], &action, NULL);
}

static int build_spawn(pid_t *child, const char *program, char *const *command)
{
    posix_spawnattr_t attributes;
    int error = posix_spawnattr_init(&attributes);

    if (error)
        return error;
    error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    if (!error)
        error = posix_spawn(child, program, NULL, &attributes, command, environ);
    (void)posix_spawnattr_destroy(&attributes);
    return error;
}

/* Waits for the builder, which has told what went wrong. */
static bool build_wait(const char *builder, char *const *command)
{
    pid_t child;
    int state = 0, error = build_spawn(&child, builder, command);

    if (error) {
        log_error("cannot run %s: %s", builder, strerror(error));
        return false;
    }
    build_child = child;
    if (build_signal)
        (void)kill(-child, build_signal);
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    build_child = 0;
    if (WIFSIGNALED(state) && !build_signal)
        log_error("the builder was ended by signal %d (%s)", WTERMSIG(state), strsignal(WTERMSIG(state)));
    return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

static bool build_run(const struct build *build, const struct image_arguments *arguments)
{
    uint64_t bytes = arguments->disk_size ? arguments->disk_size : BUILD_SIZE_DEFAULT;
    const char *const values[][2] = {
        {"--packages", arguments->packages}, {"--hostname", arguments->hostname},
        {"--ssh-key", arguments->ssh_key},   {"--password", arguments->password},
        {"--mirror", arguments->mirror},     {"--kernel-dir", arguments->kernel_folder},
    };
    char size[24];
    char *command[6 + 2 * ARRAY_LENGTH(values)] = {build->builder, (char *)"--work", build->folder, (char *)"--size",
                                                   size};
    unsigned count = 5;

    (void)snprintf(size, sizeof(size), "%" PRIu64, bytes);
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        if (!values[i][1])
            continue;
        command[count++] = (char *)values[i][0];
        command[count++] = (char *)values[i][1];
    }
    return build_wait(build->builder, command);
}

/* By a process of its own, like the builder: a signal must not end this one before the folder is gone. */
static bool build_convert(const struct build *build, char *complete)
{
    char *const command[] = {(char *)"lodge", (char *)"image", (char *)"convert", (char *)"-f",
                             (char *)"raw",   build->disk,     complete,          NULL};

    return build_wait("/proc/self/exe", command);
}

/* The image gets its name when it is complete, and never another's. */
static bool build_finish(const struct build *build, bool raw)
{
    char *complete = build->disk;
    bool good = true;

    if (!raw) {
        if (asprintf(&complete, "%s/image", build->folder) < 0)
            return false;
        good = build_convert(build, complete);
    }
    if (good && !build_signal && link(complete, build->output) != 0) {
        log_error("cannot write %s: %s", build->output, strerror(errno));
        good = false;
    }
    if (!raw)
        free(complete);
    return good;
}

int image_build(const struct image_arguments *arguments)
{
    bool raw = arguments->format == IMAGE_RAW;
    struct build build = {.output = raw ? "debian.raw" : "debian.qcow2"};
    int status = IMAGE_EXIT_FAILED;

    if (arguments->output)
        build.output = arguments->output;
    if (!build_check(arguments, build.output))
        return IMAGE_EXIT_USAGE;
    build_watch_signals(true);
    if (build_prepare(&build) && build_run(&build, arguments) && !build_signal && build_finish(&build, raw))
        status = IMAGE_EXIT_OK;
    build_put_away(&build);
    build_watch_signals(false);
    if (build_signal)
        (void)raise(build_signal);
    return status;
}
