/* x87, SSE and AVX, their exceptions and control words, across system calls, signals and threads. */
#include <fenv.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint32_t mix(uint32_t sum, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = sum * 16777619u ^ ((const unsigned char *)bytes)[i];
    return sum;
}

static sigjmp_buf back;

static void on_fpe(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    printf("SIGFPE code %d\n", info->si_code);
    siglongjmp(back, 1);
}

static double products[3];

static void *spin(void *argument)
{
    double value = (double)(long)argument, product = 1;

    for (int i = 0; i < 200000; i++) {
        product = product * 1.0000001 + value;
        if (i % 1000 == 0)
            sched_yield();
    }
    products[(long)argument - 1] = product;
    return NULL;
}

__attribute__((target("avx2,fma"))) static void avx(void)
{
    __m256d a = _mm256_set_pd(1.5, -2.25, 3.125, 1e300), b = _mm256_set1_pd(0.1), sum = _mm256_setzero_pd();
    __m256i x = _mm256_set1_epi32(0x01020304), y = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8);
    char bytes[200];

    for (int i = 0; i < 10000; i++) {
        sum = _mm256_fmadd_pd(a, b, sum);
        x = _mm256_add_epi32(_mm256_mullo_epi32(x, y), _mm256_srli_epi32(x, 3));
        if (i % 1000 == 0)
            getppid(); /* the upper halves must survive */
    }
    printf("avx %08x %08x\n", mix(1, &sum, sizeof(sum)), mix(1, &x, sizeof(x)));
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    for (int i = 0; i < 100; i++)
        _mm256_storeu_si256((__m256i *)(void *)(bytes + i), _mm256_alignr_epi8(x, y, 5));
    printf("unaligned %08x\n", mix(1, bytes, sizeof(bytes)));
    int gathered[8];
    _mm256_storeu_si256((__m256i *)(void *)gathered,
                        _mm256_i32gather_epi32((const int *)(void *)bytes, _mm256_and_si256(y, _mm256_set1_epi32(15)), 4));
    printf("gather %08x\n", mix(1, gathered, sizeof(gathered)));
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO};
    pthread_t threads[3];
    long double extended = 1;
    double value = 1;

    for (int i = 1; i < 60; i++) {
        extended = extended * 1.000001L + sinl((long double)i) / 3;
        value = value / 1.1 + sqrt(i) * exp(-i / 10.0) + atan2(i, 7) + fmod(i * 1e10, 7);
    }
    printf("%.20Lg %.17g\n", extended, value);
    for (int mode = 0; mode < 4; mode++) {
        static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
        volatile double third = 1, three = 3;
        fesetround(modes[mode]);
        getppid();
        printf("%a %ld\n", third / three, lrint(2.5));
    }
    fesetround(FE_TONEAREST);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0, huge = 1e308;
    volatile double infinite = 1 / zero, overflown = huge * 10;
    printf("%g %g flags %x\n", infinite, overflown, (unsigned)fetestexcept(FE_ALL_EXCEPT));

    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, spin, (void *)(i + 1));
    for (int i = 0; i < 3; i++) {
        uint64_t bits;

        pthread_join(threads[i], NULL);
        memcpy(&bits, &products[i], sizeof(bits));
        printf("thread %016llx\n", (unsigned long long)bits);
    }

    sigaction(SIGFPE, &action, NULL);
    feclearexcept(FE_ALL_EXCEPT);
    if (!sigsetjmp(back, 1)) {
        _mm_setcsr(_mm_getcsr() & ~(unsigned)_MM_MASK_DIV_ZERO);
        printf("%g\n", 1 / zero);
    }
    _mm_setcsr(0x1f80);
    if (!sigsetjmp(back, 1)) {
        unsigned short control = 0x037f & ~4;
        __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control));
    }
    __asm__ volatile("fninit");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        avx();
    else
        printf("no avx2\n");
    return 0;
}
