/* Answers every datagram to a port with its size: "got SIZE". usage: udp_size PORT */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    static char bytes[65536];
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    address.sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : ""));
    if (bind(fd, (struct sockaddr *)&address, size) != 0) {
        perror("udp_size");
        return 1;
    }
    for (;;) {
        ssize_t got = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&address, &size);
        int length = snprintf(bytes, sizeof(bytes), "got %zd", got);

        (void)sendto(fd, bytes, (size_t)length, 0, (struct sockaddr *)&address, size);
    }
}
