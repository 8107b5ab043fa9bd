/*
 * Speaks over vsock from inside of a guest.
 *
 *     vsock call PORT      calls the host, sends what it reads on its input, prints what comes back
 *     vsock answer PORT    takes one call, sends back what it gets with its letters turned to capitals
 */
#include <ctype.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static int copy(int from, int to, int capitals)
{
    static char bytes[1 << 16];
    ssize_t size;

    while ((size = read(from, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < size && capitals; i++)
            bytes[i] = (char)toupper((unsigned char)bytes[i]);
        for (ssize_t done = 0, here; done < size; done += here)
            if ((here = write(to, bytes + done, (size_t)(size - done))) <= 0)
                return failed("write");
    }
    return size < 0 ? failed("read") : 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (argc != 3 || fd < 0)
        return failed("socket");
    address.svm_port = (unsigned)atoi(argv[2]);
    if (strcmp(argv[1], "call") == 0) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
            return failed("connect");
        if (copy(0, fd, 0) != 0 || shutdown(fd, SHUT_WR) != 0)
            return 1;
        return copy(fd, 1, 0);
    }
    address.svm_cid = VMADDR_CID_ANY;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1) != 0)
        return failed("listen");
    puts("listening");
    fflush(stdout);
    fd = accept(fd, NULL, NULL);
    return fd < 0 ? failed("accept") : copy(fd, fd, 1);
}
