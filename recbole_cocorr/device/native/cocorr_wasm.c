/* cocorr.h for JavaScript: one model in WebAssembly's memory, and calls that take plain numbers and addresses.
 *
 * `make wasm` builds web/js/cocorr.wasm of this file and cocorr.c; web/js/native.js is who calls it. Addresses are those
 * of this memory. "place" gives room and never takes it back: the host keeps what it was given and uses it again.
 */
#include "cocorr.h"

#include <string.h>

#define CALL(name) __attribute__((export_name(#name)))

extern unsigned char __heap_base; /* the linker's: memory from here on is free */

static cocorr_parts parts;
static cocorr_model model;

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) { return __builtin_memcpy(to, from, bytes); }

void *memset(void *to, int value, size_t bytes) { return __builtin_memset(to, value, bytes); }

int memcmp(const void *a, const void *b, size_t bytes)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* So many bytes, at a multiple of 64; 0 if there is no more memory. */
CALL(place) uint32_t place(uint32_t bytes)
{
    static uint64_t free_from;
    if (!free_from) free_from = (uint64_t)(uintptr_t)&__heap_base;
    const uint64_t at = (free_from + 63) / 64 * 64, end = at + bytes;
    const uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16, more = end > have ? (end - have + 65535) >> 16 : 0;
    if (end >> 32 || (more && __builtin_wasm_memory_grow(0, (size_t)more) == (size_t)-1)) return 0;
    free_from = end;
    return (uint32_t)at;
}

/* -- a model ---------------------------------------------------------------------------------------------------- */

/* An array, by its place among the first members of cocorr_parts. */
CALL(part) void part(uint32_t number, const void *data, uint32_t bytes)
{
    cocorr_part *all = &parts.native;
    all[number].data = data, all[number].bytes = bytes;
}

CALL(settings) void settings(uint32_t items, uint32_t table, uint32_t policy, uint32_t probes)
{
    parts.items = items, parts.table = table, parts.policy = policy, parts.probes = probes;
}

CALL(neighbours) void neighbours(
    uint32_t count, uint32_t clicks, double decay, double base, double per_log_click, double scale)
{
    parts.neighbours = count, parts.neighbour_clicks = clicks, parts.decay = decay;
    parts.base = base, parts.per_log_click = per_log_click, parts.scale = scale;
}

CALL(open) int open_model(void) { return cocorr_open_parts(&model, &parts); }

CALL(message) const char *message(int status) { return cocorr_message(status); }

/* Width, window, mini-batch, heads, clicks that are kept, and numbers of a state. */
CALL(sizes) void sizes(uint32_t *six)
{
    const cocorr_sizes *z = &model.sizes;
    six[0] = z->width, six[1] = z->window, six[2] = z->mini_batch;
    six[3] = z->heads, six[4] = z->recent, six[5] = (uint32_t)z->state;
}

CALL(session_bytes) uint32_t session_bytes(void) { return (uint32_t)cocorr_session_bytes(&model); }

/* -- a session; it is named by the address of its memory -------------------------------------------------------- */

CALL(start) int start(void *memory, int policy)
{
    cocorr_session *session;
    const uint64_t bytes = cocorr_session_bytes(&model);
    memset(memory, 0, (size_t)bytes); /* another session may have been here */
    return cocorr_start(&session, &model, policy, memory, bytes);
}

CALL(click) int click(cocorr_session *s, uint32_t row) { return cocorr_click(s, row); }

CALL(history) int history(cocorr_session *s, const uint32_t *rows, uint32_t count) { return cocorr_history(s, rows, count); }

CALL(user) const float *user(const cocorr_session *s) { return cocorr_user(s); }

CALL(set_user) int set_user(cocorr_session *s, const float *vector) { return cocorr_set_user(s, vector); }

CALL(correct) int correct(cocorr_session *s, const float *attention, const float *bias)
{
    return cocorr_correct(s, attention, bias);
}

CALL(scores) int scores(cocorr_session *s, const uint32_t *rows, uint32_t count, int with_neighbours, float *to)
{
    return cocorr_scores(s, rows, count, with_neighbours, to);
}

/* How many rows were ranked, or minus the status. */
CALL(rank_all) int32_t rank_all(
    cocorr_session *s, uint32_t k, const uint32_t *exclude, uint32_t count, uint32_t *rows, float *to)
{
    uint64_t ranked;
    const int status = cocorr_rank_all(s, k, exclude, count, rows, to, &ranked);
    return status ? -status : (int32_t)ranked;
}

CALL(recent) uint32_t recent(const cocorr_session *s, int32_t *rows) { return cocorr_recent(s, rows); }

CALL(state) void state(const cocorr_session *s, float *to) { cocorr_state(s, to); }

/* JavaScript's numbers are doubles, which hold any number of clicks. */
CALL(restore) int restore(
    cocorr_session *s, double clicks, const int32_t *rows, uint32_t count, const float *vector, const float *from)
{
    return cocorr_restore(s, (uint64_t)clicks, rows, count, vector, from);
}
