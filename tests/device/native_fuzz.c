/* Opens artifacts and runs sessions on them, and on copies with bytes, sizes and settings changed at random. Built with
 * sanitizers: whatever is wrong with the files, calls give a status.   native_fuzz ROUNDS SEED FOLDER... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cocorr.h"

enum { PARTS = 13 }; /* arrays of an artifact */

static uint64_t seed;

static uint32_t chance(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static int opened, refused, ranked;

static int policy_run(const cocorr_model *m, int policy, uint64_t bytes)
{
    cocorr_session *s;
    uint32_t rows[40], best[12];
    float scores[40];
    uint64_t found, length;
    void *memory = calloc(1, bytes);
    int status = cocorr_start(&s, m, policy, memory, bytes);
    for (int i = 0; i < 40; i++) rows[i] = chance(m->sizes.items + 1);
    for (int i = 0; i < 12 && !status; i++) cocorr_click(s, rows[i]);
    if (!status) {
        cocorr_history(s, rows, 40);
        for (int i = 0; i < 40; i++) rows[i] = 1 + chance(m->sizes.items);
        cocorr_history(s, rows, 20);
        for (int i = 0; i < 30; i++) cocorr_click(s, 1 + chance(m->sizes.items));
        cocorr_scores(s, rows, 40, 1, scores);
        cocorr_rank(s, rows, 40, 12, best, scores, &found);
        if (!cocorr_rank_all(s, 12, rows, 5, best, scores, &found)) ranked++;
        for (uint64_t i = 0; i < found; i++) {
            const char *token = cocorr_token(m, best[i], &length);
            if (token) cocorr_row(m, token, length);
        }
        const cocorr_sizes *z = &m->sizes;
        const uint64_t sent = (uint64_t)z->heads * z->mini_batch * (z->mini_batch + z->head_width);
        float *numbers = malloc((sent > (uint64_t)z->window * z->width ? sent : (uint64_t)z->window * z->width) * sizeof *numbers);
        for (uint64_t i = 0; i < sent; i++) numbers[i] = (float)chance(64) - 32;
        cocorr_correct(s, numbers, numbers + (uint64_t)z->heads * z->mini_batch * z->mini_batch);
        cocorr_upload(s, numbers);
        free(numbers);
        float *state = malloc(m->sizes.state * sizeof *state);
        int32_t *recent = malloc(m->sizes.recent * sizeof *recent);
        cocorr_state(s, state);
        const uint32_t count = cocorr_recent(s, recent);
        if (count) recent[chance(count)] ^= (int32_t)(chance(8) ? 0 : chance(1u << 31));
        cocorr_restore(s, cocorr_clicks(s), recent, count - (chance(4) == 0), cocorr_user(s), state);
        cocorr_click(s, rows[0]);
        free(state);
        free(recent);
    }
    free(memory);
    return status;
}

static void run(const cocorr_model *m)
{
    const uint64_t bytes = cocorr_session_bytes(m);
    opened++;
    if (!bytes || bytes > 1 << 26) return;
    policy_run(m, COCORR_CARRY, bytes);
    policy_run(m, COCORR_WINDOW, bytes);
}

/* The arrays in memory of exactly their size, so that a read beyond them is seen. */
static void changed(const cocorr_parts *original)
{
    cocorr_model m;
    cocorr_parts p = *original;
    cocorr_part *parts = &p.native;
    void *copies[PARTS];
    memset(&m, 0, sizeof m);
    const uint32_t victim = chance(PARTS), kind = chance(5);
    for (uint32_t i = 0; i < PARTS; i++) {
        uint64_t bytes = parts[i].bytes;
        if (i == victim && kind == 0 && bytes) bytes = chance(2) ? bytes - 1 : chance((uint32_t)bytes);
        copies[i] = bytes ? malloc(bytes) : NULL;
        if (bytes) memcpy(copies[i], parts[i].data, bytes);
        if (i == victim && kind == 1)
            for (uint32_t n = 1 + chance(8); bytes && n; n--) ((unsigned char *)copies[i])[chance((uint32_t)bytes)] = (unsigned char)chance(256);
        if (i == victim && kind == 2 && bytes)
            memset((char *)copies[i] + chance((uint32_t)bytes) / 4 * 4, chance(2) ? 0xff : 0x7f, bytes % 4 ? 1 : 4);
        parts[i].data = copies[i], parts[i].bytes = bytes;
    }
    if (kind == 3) {
        uint32_t *numbers = &p.items;
        numbers[chance(6)] = chance(3) ? chance(64) : chance(1u << 31) << 1;
    }
    if (kind == 4) {
        const double values[] = {0, -1, 1e-300, 1e300, 1, 1e6, -1e6};
        (&p.decay)[chance(4)] = values[chance(7)];
        if (p.native.bytes > 64 && chance(2)) memset((char *)copies[0] + 8 + 4 * chance(14), (int)chance(3), 1);
    }
    if (cocorr_open_parts(&m, &p))
        refused++;
    else
        run(&m);
    for (uint32_t i = 0; i < PARTS; i++) free(copies[i]);
}

int main(int count, char **words)
{
    const int rounds = count > 2 ? atoi(words[1]) : 0;
    seed = count > 2 ? (uint64_t)atoll(words[2]) : 0;
    for (int i = 3; i < count; i++) {
        cocorr_model m;
        if (cocorr_open(&m, words[i])) {
            refused++;
            continue;
        }
        run(&m);
        for (int round = 0; round < rounds; round++) changed(&m.parts);
        cocorr_close(&m);
    }
    printf("%d %d %d\n", opened, refused, ranked);
    return 0;
}
