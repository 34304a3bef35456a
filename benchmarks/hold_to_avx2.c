/* Makes the libraries of a process believe that the processor has AVX2 and nothing newer.
 *
 * An audit library of the dynamic linker (rtld-audit(7); `hold_to_avx2.py` builds it and sets
 * LD_AUDIT). The linker tells it of every library after mapping and before running its code. At the
 * places that the file named by HOLD_TO_AVX2_SITES lists, the two bytes of `cpuid` (0F A2) are then
 * overwritten by the two of `ud2` (0F 0B). That raises SIGILL; the handler asks the true
 * processor, takes the newer instructions out of its answer, and goes on behind the place.
 *
 * The list: lines "PATH ADDRESS", the address in hexadecimal digits as in the file's own symbols.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static uintptr_t *sites; /* a few hundred, looked through only when a library asks */
static size_t count, room;

/* The answer of the processor without what came after AVX2. Bits: Intel's manual, volume 2, CPUID. */
static void old_cpuid(unsigned leaf, unsigned subleaf, unsigned r[4]) {
    __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
    if (leaf == 7 && subleaf == 0) {
        /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
        r[1] &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
        /* VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ */
        r[2] &= ~(1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14);
        /* 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, FP16, AMX-TILE, AMX-INT8 */
        r[3] &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else if (leaf == 7 && subleaf >= 1) { /* AVX-VNNI, BF16, AMX-FP16, AVX-IFMA, INT8, AVX10 … */
        r[0] = r[1] = r[2] = r[3] = 0;
    } else if (leaf == 0xD && subleaf == 0) {
        r[0] &= ~(7u << 5 | 3u << 17); /* state of opmasks, upper halves, ZMM16–31, tiles */
    } else if (leaf == 0x1D || leaf == 0x1E || leaf == 0x24) { /* tiles, AVX10 */
        r[0] = r[1] = r[2] = r[3] = 0;
    } else if (leaf == 0x8000001A) {
        r[0] &= ~(1u << 3); /* 512 bits wide */
    }
}

static void on_trap(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    for (size_t i = 0; i < count; i++)
        if (sites[i] == (uintptr_t)registers[REG_RIP]) {
            unsigned r[4];
            old_cpuid(registers[REG_RAX], registers[REG_RCX], r);
            registers[REG_RAX] = r[0], registers[REG_RBX] = r[1];
            registers[REG_RCX] = r[2], registers[REG_RDX] = r[3];
            registers[REG_RIP] += 2;
            return;
        }
    signal(SIGILL, SIG_DFL); /* a true illegal instruction: it is met again, and ends the process */
    (void)number, (void)info;
}

static void stop(const char *why, const char *what) {
    fprintf(stderr, "hold_to_avx2: %s %s\n", why, what);
    _exit(70);
}

static void patch(uintptr_t address, const char *path) {
    unsigned char *code = (unsigned char *)address;
    uintptr_t page = sysconf(_SC_PAGESIZE), first = address & -page, end = (address + 2 + page - 1) & -page;
    if (code[0] != 0x0F || code[1] != 0xA2) stop("the list is not that of", path);
    if (mprotect((void *)first, end - first, PROT_READ | PROT_WRITE | PROT_EXEC)) stop("can't change", path);
    code[1] = 0x0B;
    if (mprotect((void *)first, end - first, PROT_READ | PROT_EXEC)) stop("can't protect", path);
    if (count == room && !(sites = realloc(sites, (room += 1024) * sizeof *sites))) stop("no memory", "");
    sites[count++] = address;
}

unsigned la_version(unsigned version) {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGILL, &action, NULL)) stop("no handler for", "SIGILL");
    return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    char path[4096], line[4352], *list = getenv("HOLD_TO_AVX2_SITES");
    (void)space, (void)cookie;
    if (!realpath(*map->l_name ? map->l_name : "/proc/self/exe", path)) return 0; /* the vDSO */
    FILE *file = list ? fopen(list, "r") : NULL;
    if (!file) stop("can't read HOLD_TO_AVX2_SITES", list ? list : "");
    size_t length = strlen(path);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, path, length) && line[length] == ' ')
            patch(map->l_addr + strtoull(line + length + 1, NULL, 16), path);
    fclose(file);
    return 0; /* no calls are watched */
}
