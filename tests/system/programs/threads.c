/* Threads that share: atomics, mutexes, condition variables, thread-local storage. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { THREADS = 4, ROUNDS = 50000, PINGS = 2000 };

static atomic_long atomic_sum;
static long locked_sum;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int turn;
static __thread long mine;
static unsigned char bytes[64];

static void *count(void *argument)
{
    long number = (long)argument;

    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&atomic_sum, number);
        mine += number;
        bytes[number]++; /* neighbours in one cache line */
        if (i % 16 == 0) {
            pthread_mutex_lock(&mutex);
            locked_sum += number;
            pthread_mutex_unlock(&mutex);
        }
    }
    return (void *)mine;
}

static void *ping(void *argument)
{
    int number = (int)(long)argument;

    for (int i = 0; i < PINGS; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % 2 != number)
            pthread_cond_wait(&condition, &mutex);
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *identity(void *argument)
{
    return argument;
}

int main(void)
{
    pthread_t threads[THREADS];
    long total = 0;

    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        total += (long)result;
    }
    printf("atomic %ld locked %ld local %ld\n", atomic_sum, locked_sum, total);
    for (int i = 1; i <= THREADS; i++)
        printf("byte %d: %u\n", i, bytes[i]);

    for (long i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, ping, (void *)i);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("turns %d\n", turn);

    for (int i = 0; i < 500; i++) {
        void *result;
        pthread_create(&threads[0], NULL, identity, (void *)(long)i);
        pthread_join(threads[0], &result);
        total += (long)result;
    }
    printf("created and joined, total %ld\n", total);
    return 0;
}
