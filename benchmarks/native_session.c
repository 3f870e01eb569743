/* What a session costs in C alone, in microseconds: quartiles of a click, of 100 candidates by row and of the best ten.
 *
 *   cc -O3 -I recbole_cocorr/device/native -o native_session benchmarks/native_session.c \
 *      recbole_cocorr/device/native/cocorr.c recbole_cocorr/device/native/cocorr_files.c -lm
 *   ./native_session ARTIFACT
 */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cocorr.h"

enum { CLICKS = 20000, RANKINGS = 1000, CANDIDATES = 100, BEST = 10 };

static double times[CLICKS];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void show(const char *what, size_t count)
{
    qsort(times, count, sizeof *times, by_size);
    printf("%-24s %7.1f %7.1f %7.1f\n", what, times[count / 4], times[count / 2], times[count * 3 / 4]);
}

/* A number below n, the same ones in every run. */
static uint32_t drawn(uint32_t n)
{
    static uint64_t seed = 1;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static int measure(const cocorr_model *m, int policy)
{
    const uint64_t bytes = cocorr_session_bytes(m);
    cocorr_session *s;
    uint32_t rows[CANDIDATES], best[CANDIDATES];
    float scores[CANDIDATES];
    uint64_t count;
    int status = cocorr_start(&s, m, policy, calloc(1, bytes), bytes);
    for (int i = 0; i < CLICKS && !status; i++) {
        const uint32_t row = 1 + drawn(m->sizes.items - 1);
        const double began = now();
        status = cocorr_click(s, row);
        times[i] = now() - began;
    }
    if (status) return status;
    show(policy == COCORR_CARRY ? "a click, carried on" : "a click, with the window", CLICKS);
    for (int i = 0; i < RANKINGS && !status; i++) {
        for (int n = 0; n < CANDIDATES; n++) rows[n] = 1 + drawn(m->sizes.items - 1);
        const double began = now();
        status = cocorr_rank(s, rows, CANDIDATES, CANDIDATES, best, scores, &count);
        times[i] = now() - began;
    }
    show("100 candidates by row", RANKINGS);
    for (int i = 0; i < RANKINGS && !status; i++) {
        const double began = now();
        status = cocorr_rank_all(s, BEST, NULL, 0, best, scores, &count);
        times[i] = now() - began;
    }
    show("the best ten of all", RANKINGS);
    return status;
}

int main(int count, char **words)
{
    cocorr_model m;
    int status = count == 2 ? cocorr_open(&m, words[1]) : COCORR_BAD_ARGUMENT;
    if (!status) status = measure(&m, COCORR_CARRY);
    if (!status) status = measure(&m, COCORR_WINDOW);
    if (!status) printf("%llu KB a session\n", (unsigned long long)cocorr_session_bytes(&m) >> 10);
    if (status) fprintf(stderr, "%s\n", cocorr_message(status));
    for (FILE *f = status ? NULL : fopen("/proc/self/status", "r"); f; f = NULL)
        for (char line[256]; fgets(line, sizeof line, f);)
            if (!strncmp(line, "VmHWM", 5)) fputs(line, stdout);
    return status;
}
