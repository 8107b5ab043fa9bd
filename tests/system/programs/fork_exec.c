/* Processes: fork and copy-on-write, exec, pipes, exit statuses, many children. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int variable = 1;

int main(int argc, char **argv)
{
    int ends[2], status;
    char text[64] = "";
    char *block = malloc(1 << 20);

    if (argc > 1) {
        printf("child says %s\n", argv[1]);
        return 7;
    }
    memset(block, 'a', 1 << 20);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(ends) != 0)
        return 1;
    if (fork() == 0) {
        variable = 2;
        memset(block, 'b', 1 << 20);
        dprintf(ends[1], "%d%c", variable, block[1 << 19]);
        _exit(3);
    }
    wait(&status);
    if (read(ends[0], text, sizeof(text) - 1) < 0)
        return 1;
    printf("child %s status %d; parent %d%c\n", text, WEXITSTATUS(status), variable, block[1 << 19]);

    if (fork() == 0) {
        execl("/proc/self/exe", "again", "hello", NULL);
        _exit(1);
    }
    wait(&status);
    printf("exec status %d\n", WEXITSTATUS(status));

    if (fork() == 0) {
        raise(SIGKILL);
        _exit(1);
    }
    wait(&status);
    printf("signal %d\n", WTERMSIG(status));

    int sum = 0;
    for (int i = 0; i < 200; i++) {
        if (fork() == 0)
            _exit(i % 100);
        if (i % 4 == 3)
            for (int j = 0; j < 4; j++) {
                wait(&status);
                sum += WEXITSTATUS(status);
            }
    }
    printf("200 children, sum %d\n", sum);
    return 0;
}
