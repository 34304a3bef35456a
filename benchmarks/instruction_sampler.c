/* Counts, at the ticks of a timer, which kind of instruction the process is about to run.
 *
 * In 64-bit mode the first byte tells: 62 begins an EVEX instruction (AVX-512, whatever its width)
 * and nothing else; C4 and C5 begin a VEX one (AVX, AVX2, FMA, and AVX-VNNI, which is map 2,
 * opcodes 50 to 53). Code made at run time is seen as well. Built and used by instruction_sampler.py.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile long seen[4]; /* all, VEX, EVEX, AVX-VNNI; two threads may miscount by one */

static void on_tick(int number, siginfo_t *info, void *context) {
    const unsigned char *code = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    (void)number, (void)info;
    __atomic_fetch_add(&seen[0], 1, __ATOMIC_RELAXED);
    if (code[0] == 0xC4 || code[0] == 0xC5) __atomic_fetch_add(&seen[1], 1, __ATOMIC_RELAXED);
    if (code[0] == 0x62) __atomic_fetch_add(&seen[2], 1, __ATOMIC_RELAXED);
    if (code[0] == 0xC4 && (code[1] & 31) == 2 && code[3] >= 0x50 && code[3] <= 0x53)
        __atomic_fetch_add(&seen[3], 1, __ATOMIC_RELAXED);
}

/* Every `microseconds` of processor time; 0 ends it. */
int sample(long microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    if (sigaction(SIGPROF, &action, 0)) return -1;
    return setitimer(ITIMER_PROF, &timer, 0);
}

long samples(int kind) { return seen[kind]; }
