#include "cocorr.h"

#include <math.h>
#include <string.h>

/* On x86 the loops are compiled for several processors, and the loader picks one. A sanitizer is not ready for that. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(COCORR_PLAIN)
#define BY_PROCESSOR __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define BY_PROCESSOR
#endif
/* A clone is made of what is inlined into it. WebAssembly has no clones, and would be larger and no faster. */
#if defined(__GNUC__) && !defined(__wasm__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#define HEADER 64
#define MOST_SESSION ((uint64_t)1 << 30)
#define BLOCK 256
#define MOMENT_EPS 1e-6f
#define LONGEST_ROW 8u /* of the neighbour table, in rows of average length */

const char *cocorr_message(int status)
{
    static const char *const sentences[] = {
        "nothing is wrong",
        "a file of the artifact is missing, cannot be read or has another size than its manifest says",
        "manifest.json is missing or is no manifest of a device artifact",
        "the artifact holds no weights for the native runtime; export the model again",
        "the artifact or its native weights are of another version than this library reads; export the model again",
        "the sizes of the artifact's arrays do not fit each other",
        "the native weights are damaged: a number is not finite",
        "the neighbour table is damaged: it names an item that the catalogue lacks, or its rows or its settings cannot be",
        "the item vocabulary is damaged",
        "the item table is damaged: a user vector is not finite",
        "the item table is damaged: a score is not finite",
        "a row is none of the catalogue's",
        "the session has read no click yet; click or history comes first",
        "the state is none that a session of this model gives",
        "an argument does not fit",
        "this machine cannot map files, or it orders bytes the other way",
        "the model takes no correction, or was exported before the native runtime took any; export it again",
    };
    return status >= 0 && status < (int)(sizeof sentences / sizeof *sentences) ? sentences[status] : "unknown status";
}

uint64_t cocorr_model_bytes(void) { return sizeof(cocorr_model); }

uint64_t cocorr_parts_bytes(void) { return sizeof(cocorr_parts); }

/* -- numbers ---------------------------------------------------------------------------------------------------- */

/* By its bits: a compiler that may reorder sums may also take x - x for 0. */
INLINE int is_finite(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static int is_finite_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

static int all_finite(const float *x, uint64_t n)
{
    int right = 1;
    for (uint64_t i = 0; i < n; i++) right &= is_finite(x[i]);
    return right;
}

/* e^x, within two units of the last place, in a form that loops of it become vectors. */
INLINE float exp_of(float x)
{
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    int32_t n = (int32_t)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    float r = x - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    float y = 1 + r * (1 + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f + r / 720)))));
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return y * power;
}

INLINE float sigmoid(float x) { return 1 / (1 + exp_of(-x)); }

/* ln x of a positive, normal x. */
static double log_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&x, &bits, 8);
    if (x > 1.4142135623730951) x /= 2, exponent++;
    double s = (x - 1) / (x + 1), square = s * s, sum = 0;
    for (int n = 21; n >= 1; n -= 2) sum = sum * square + 1.0 / n;
    return 2 * s * sum + exponent * 0.6931471805599453;
}

static double asinh_of(double x)
{
    double size = x < 0 ? -x : x;
    double y = size > 1e150 ? log_of(size) + 0.6931471805599453 : log_of(size + sqrt(size * size + 1));
    return x < 0 ? -y : y;
}

INLINE float half(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float x;
    memcpy(&x, &bits, 4);
    x *= 5.192296858534828e33f; /* 2^112 */
    memcpy(&bits, &x, 4);
    bits |= sign | ((h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
    memcpy(&x, &bits, 4);
    return x;
}

/* y [n] = x [m] times W [m, n]; W lies by inputs, so that the inner loop has no sum across it. */
INLINE void product(float *restrict y, const float *restrict x, const float *restrict W, uint32_t m, uint32_t n)
{
    uint32_t j = 0;
    for (uint32_t i = 0; i < n; i++) y[i] = 0;
    for (; j + 4 <= m; j += 4, W += 4 * (size_t)n) {
        const float a = x[j], b = x[j + 1], c = x[j + 2], e = x[j + 3];
        const float *restrict A = W, *restrict B = W + n, *restrict C = B + n, *restrict E = C + n;
        for (uint32_t i = 0; i < n; i++) y[i] += a * A[i] + b * B[i] + c * C[i] + e * E[i];
    }
    for (; j < m; j++, W += n)
        for (uint32_t i = 0; i < n; i++) y[i] += x[j] * W[i];
}

INLINE float dot(const float *restrict a, const float *restrict b, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

INLINE void rms_norm(float *restrict y, const float *restrict x, const float *restrict weight, uint32_t n, float eps)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i] * x[i];
    const float factor = 1 / sqrtf(sum / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) y[i] = x[i] * factor * weight[i];
}

/* x to (x - mean) / sigma; gives 1 / sigma. */
INLINE float standardise(float *restrict x, uint32_t n, float eps)
{
    float sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    const float mean = sum / (float)n;
    for (uint32_t i = 0; i < n; i++) x[i] -= mean;
    for (uint32_t i = 0; i < n; i++) squares += x[i] * x[i];
    const float rstd = 1 / sqrtf(squares / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) x[i] *= rstd;
    return rstd;
}

/* RoPE: pairs of entries turned by the angle of their slot. */
INLINE void turn(
    float *restrict y, const float *restrict x, const float *restrict cosine, const float *restrict sine, uint32_t f)
{
    for (uint32_t i = 0; i < f / 2; i++) {
        y[2 * i] = x[2 * i] * cosine[i] - x[2 * i + 1] * sine[i];
        y[2 * i + 1] = x[2 * i + 1] * cosine[i] + x[2 * i] * sine[i];
    }
}

/* -- weights ---------------------------------------------------------------------------------------------------- */

/* The file "native": a header of 64 bytes, then float32 in this order (docs/native.md). Matrices lie by inputs. */
typedef struct {
    const float *input_norm, *project, *gate_bias, *gamma, *beta, *W0, *b0, *steps, *post_weight, *post_bias, *output;
    const float *gate_norm, *wide, *narrow; /* of a gated block */
} layer_weights;

static const float *take(const float **at, uint64_t n)
{
    const float *here = *at;
    *at += n;
    return here;
}

static uint64_t layer_numbers(const cocorr_sizes *z)
{
    const uint64_t d = z->width, H = z->heads, f = z->head_width;
    return d + d * (3 * d + H) + H + 2 * d + d * f + d + z->mini_batch + 2 * d + d * d + (z->gated ? d + 6 * d * d : 0);
}

static uint64_t all_numbers(const cocorr_sizes *z)
{
    const uint64_t turns = (uint64_t)z->mini_batch * z->head_width;
    return (z->gated ? z->width : 0) + z->layers * layer_numbers(z) + z->width + turns;
}

static layer_weights weights_of(const cocorr_model *m, uint32_t layer)
{
    const cocorr_sizes *z = &m->sizes;
    const uint64_t d = z->width, H = z->heads;
    const float *at = m->weights + (z->gated ? d : 0) + layer * layer_numbers(z);
    layer_weights w = {0};
    w.input_norm = take(&at, d);
    w.project = take(&at, d * (3 * d + H));
    w.gate_bias = take(&at, H);
    w.gamma = take(&at, d);
    w.beta = take(&at, d);
    w.W0 = take(&at, d * z->head_width);
    w.b0 = take(&at, d);
    w.steps = take(&at, z->mini_batch);
    w.post_weight = take(&at, d);
    w.post_bias = take(&at, d);
    w.output = take(&at, d * d);
    if (z->gated) {
        w.gate_norm = take(&at, d);
        w.wide = take(&at, 4 * d * d);
        w.narrow = take(&at, 2 * d * d);
    }
    return w;
}

static int is_part(const cocorr_part *part, uint64_t bytes, uint64_t align)
{
    return part->bytes == bytes && (bytes == 0 || (part->data && (uintptr_t)part->data % align == 0));
}

static int check_table(const cocorr_parts *p, const cocorr_part *vectors, const cocorr_part *scales, uint64_t width)
{
    static const uint64_t sizes[] = {4, 2, 1};
    const uint64_t size = sizes[p->table];
    return is_part(vectors, p->items * width * size, size) && (p->table != COCORR_INT8 || is_part(scales, p->items * 4ull, 4));
}

static int read_header(cocorr_model *m)
{
    const cocorr_part *native = &m->parts.native;
    uint32_t word[14];
    if (!native->data || !native->bytes) return COCORR_NO_WEIGHTS;
    if (native->bytes < HEADER || (uintptr_t)native->data % 4) return COCORR_BAD_SIZES;
    if (memcmp(native->data, "RCCNATIV", 8)) return COCORR_OTHER_VERSION;
    memcpy(word, (const char *)native->data + 8, sizeof word);
    if (word[0] != COCORR_VERSION) return COCORR_OTHER_VERSION;
    cocorr_sizes *z = &m->sizes;
    z->width = word[1], z->heads = word[2], z->mini_batch = word[3];
    z->window = word[4], z->layers = word[5], z->gated = word[6];
    memcpy(&m->rms_eps, &word[7], 4);
    memcpy(&m->norm_eps, &word[8], 4);
    memcpy(&m->alpha, &word[9], 4);
    memcpy(&m->beta, &word[10], 4);
    m->corrects = word[11];
    if (m->corrects > 1 || word[12] | word[13]) return COCORR_OTHER_VERSION;
    const uint32_t most = 1u << 16;
    if (!z->width || z->width > most || !z->heads || z->width % (2 * (uint64_t)z->heads)) return COCORR_BAD_SIZES;
    if (!z->mini_batch || z->mini_batch > most || !z->window || z->window > most) return COCORR_BAD_SIZES;
    if (!z->layers || z->layers > 1024 || z->gated > 1 || (m->corrects && z->layers > 1)) return COCORR_BAD_SIZES;
    if (!is_finite(m->alpha) || !is_finite(m->beta)) return COCORR_BAD_WEIGHTS;
    if (!(m->rms_eps > 0 && m->rms_eps < 1 && m->norm_eps > 0 && m->norm_eps < 1)) return COCORR_BAD_WEIGHTS;
    z->head_width = z->width / z->heads;
    const uint64_t numbers = all_numbers(z);
    if (native->bytes != HEADER + 4 * numbers) return COCORR_BAD_SIZES;
    m->weights = (const float *)((const char *)native->data + HEADER);
    return all_finite(m->weights, numbers) ? COCORR_OK : COCORR_BAD_WEIGHTS;
}

static int check_neighbours(const cocorr_parts *p)
{
    if (!p->neighbours && !p->neighbour_clicks) return COCORR_OK;
    if (!p->neighbours || p->neighbours > 1 << 10 || !p->neighbour_clicks || p->neighbour_clicks > 1 << 12)
        return COCORR_BAD_NEIGHBOURS;
    if (!(p->decay > 0 && p->decay <= 1 && p->scale > 0 && p->scale <= 1e6)) return COCORR_BAD_NEIGHBOURS;
    if (!(p->base >= -1e6 && p->base <= 1e6 && p->per_log_click >= -1e6 && p->per_log_click <= 1e6))
        return COCORR_BAD_NEIGHBOURS;
    const uint64_t entries = p->neighbour_weights.bytes, size = p->items <= 1u << 16 ? 2 : 4;
    const int fits = is_part(&p->neighbour_indptr, (p->items + 1ull) * 4, 4) &&
                     is_part(&p->neighbour_items, entries * size, size) && is_part(&p->neighbour_weights, entries, 1) &&
                     is_part(&p->neighbour_scales, p->items * 4ull, 4);
    if (!fits) return COCORR_BAD_SIZES;
    const uint32_t *indptr = p->neighbour_indptr.data;
    int right = !indptr[0] && indptr[p->items] == entries;
    for (uint32_t row = 0; row < p->items; row++)
        right &= indptr[row] <= indptr[row + 1] && indptr[row + 1] - indptr[row] <= LONGEST_ROW * p->neighbours;
    return right ? COCORR_OK : COCORR_BAD_NEIGHBOURS;
}

int cocorr_open_parts(cocorr_model *m, const cocorr_parts *parts)
{
    const uint16_t one = 1;
    if (m->maps > 16) return COCORR_BAD_ARGUMENT;
    m->parts = *parts;
    if (!*(const unsigned char *)&one) return COCORR_UNSUPPORTED;
    const cocorr_parts *p = &m->parts;
    memset(&m->sizes, 0, sizeof m->sizes);
    int status = read_header(m);
    if (status) return status;
    if (p->table > COCORR_INT8 || p->policy > COCORR_WINDOW || !p->items || p->items > 1u << 31) return COCORR_BAD_SIZES;
    if (!check_table(p, &p->item_vectors, &p->item_scales, m->sizes.width)) return COCORR_BAD_SIZES;
    if (!p->target_vectors.bytes) m->parts.target_vectors = p->item_vectors, m->parts.target_scales = p->item_scales;
    if (!check_table(p, &p->target_vectors, &p->target_scales, m->sizes.width)) return COCORR_BAD_SIZES;
    if (p->upload_norm.bytes && !is_part(&p->upload_norm, m->sizes.width * 4ull, 4)) return COCORR_BAD_SIZES;
    /* A host that keeps its own vocabulary gives none. */
    if (p->token_offsets.bytes) {
        const uint64_t slots = p->token_index.bytes / 4;
        if (!is_part(&p->token_offsets, (p->items + 1ull) * 4, 4) || !is_part(&p->token_index, slots * 4, 4))
            return COCORR_BAD_TOKENS;
        if (slots < 2 || slots > 1ull << 32 || slots & (slots - 1) || !p->probes || p->probes > 1 << 20)
            return COCORR_BAD_TOKENS;
        if (p->token_bytes.bytes && !p->token_bytes.data) return COCORR_BAD_TOKENS;
    }
    status = check_neighbours(p);
    if (status) return status;
    cocorr_sizes *z = &m->sizes;
    z->items = p->items, z->policy = p->policy;
    z->recent = p->neighbour_clicks > z->window ? p->neighbour_clicks : z->window;
    z->state = (uint64_t)z->layers * z->width * (z->head_width + 1 + 2 * z->mini_batch);
    return COCORR_OK;
}

void cocorr_sizes_of(const cocorr_model *model, cocorr_sizes *sizes) { *sizes = model->sizes; }

/* -- tokens ----------------------------------------------------------------------------------------------------- */

const char *cocorr_token(const cocorr_model *m, uint32_t row, uint64_t *bytes)
{
    const cocorr_parts *p = &m->parts;
    *bytes = 0;
    if (!p->token_offsets.bytes || !row || row >= p->items) return NULL;
    const uint32_t *offsets = p->token_offsets.data, from = offsets[row], to = offsets[row + 1];
    if (from > to || to > p->token_bytes.bytes || from == to) return NULL;
    *bytes = to - from;
    return (const char *)p->token_bytes.data + from;
}

static uint32_t crc32_of(const char *data, uint64_t bytes)
{
    uint32_t crc = 0xffffffffu;
    for (uint64_t i = 0; i < bytes; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

uint32_t cocorr_row(const cocorr_model *m, const char *token, uint64_t bytes)
{
    const cocorr_parts *p = &m->parts;
    if (!p->token_offsets.bytes || !bytes) return 0;
    const uint32_t *index = p->token_index.data, mask = (uint32_t)(p->token_index.bytes / 4 - 1);
    uint32_t slot = crc32_of(token, bytes) & mask;
    for (uint32_t probe = 0; probe < p->probes; probe++, slot = (slot + 1) & mask) {
        const uint32_t row = index[slot];
        uint64_t length;
        const char *other = cocorr_token(m, row, &length);
        if (!row) return 0;
        if (other && length == bytes && !memcmp(other, token, bytes)) return row;
    }
    return 0;
}

/* -- sessions --------------------------------------------------------------------------------------------------- */

struct cocorr_session {
    const cocorr_model *model;
    uint64_t clicks;
    int policy;
    float *state, *spare, *user; /* what a failed call must not change is written into spare, or undone */
    float *x, *normed, *raw, *heads, *mixed, *wide, *query, *residual, *shares;
    /* By click number modulo L: the projections of the first layer, which do not depend on the slot; and of which row. */
    float *cache;
    uint32_t *cache_rows;
    int32_t *recent; /* by click number modulo M */
    /* p of the neighbour table in units that are divided at each click; its items, and a bit for each of them. */
    double *p, unit;
    uint32_t *speak, speaking, most_speaking, age;
    uint8_t *in_p, *excluded;
};

/* Lays the arrays of a session out; with no memory it only counts. */
static uint64_t lay_out(const cocorr_model *m, cocorr_session *s, char *memory)
{
    const cocorr_sizes *z = &m->sizes;
    const uint64_t d = z->width, all = 3 * d + z->heads, T = m->parts.neighbour_clicks;
    uint64_t speak = 2 * T * LONGEST_ROW * m->parts.neighbours, bits = (z->items + 7ull) / 8, at = (sizeof *s + 63) / 64 * 64;
    if (speak > z->items) speak = z->items;
#define ARRAY(name, type, count)                              \
    do {                                                      \
        if (memory) s->name = (type *)(void *)(memory + at);  \
        at += ((count) * sizeof(type) + 63) / 64 * 64;        \
    } while (0)
    ARRAY(state, float, z->state);
    ARRAY(spare, float, z->state);
    ARRAY(user, float, d);
    ARRAY(x, float, d);
    ARRAY(normed, float, d);
    ARRAY(raw, float, all);
    ARRAY(heads, float, d);
    ARRAY(mixed, float, d);
    ARRAY(wide, float, z->gated ? 4 * d : 0);
    ARRAY(query, float, z->head_width);
    ARRAY(residual, float, z->head_width);
    ARRAY(shares, float, z->mini_batch);
    ARRAY(cache, float, z->window * all);
    ARRAY(cache_rows, uint32_t, z->window);
    ARRAY(recent, int32_t, z->recent);
    ARRAY(p, double, T ? z->items : 0ull);
    ARRAY(speak, uint32_t, speak);
    ARRAY(in_p, uint8_t, T ? bits : 0);
    ARRAY(excluded, uint8_t, bits);
#undef ARRAY
    if (memory) s->most_speaking = (uint32_t)speak;
    return at;
}

uint64_t cocorr_session_bytes(const cocorr_model *m)
{
    const uint64_t bytes = lay_out(m, NULL, NULL);
    return bytes > MOST_SESSION ? 0 : bytes;
}

static void initial_state(const cocorr_model *m, float *state)
{
    const cocorr_sizes *z = &m->sizes;
    const size_t f = z->head_width, rest = 2 * (size_t)z->mini_batch * f;
    for (uint32_t layer = 0; layer < z->layers; layer++) {
        const layer_weights w = weights_of(m, layer);
        for (size_t h = 0; h < z->heads; h++) {
            memcpy(state, w.W0 + h * f * f, f * f * sizeof(float)), state += f * f;
            memcpy(state, w.b0 + h * f, f * sizeof(float)), state += f;
            memset(state, 0, rest * sizeof(float)), state += rest;
        }
    }
}

int cocorr_start(cocorr_session **session, const cocorr_model *m, int policy, void *memory, uint64_t bytes)
{
    const uint64_t needed = cocorr_session_bytes(m);
    if (!needed || bytes < needed || !memory || (uintptr_t)memory % 8) return COCORR_BAD_ARGUMENT;
    if (policy != COCORR_CARRY && policy != COCORR_WINDOW) return COCORR_BAD_ARGUMENT;
    cocorr_session *s = memory;
    lay_out(m, s, memory);
    s->model = m, s->policy = policy, s->unit = 1;
    initial_state(m, s->state);
    *session = s;
    return COCORR_OK;
}

/* -- a click ---------------------------------------------------------------------------------------------------- */

INLINE void item_vector(const cocorr_model *m, uint32_t row, float *restrict x)
{
    const size_t d = m->sizes.width, at = row * d;
    if (m->parts.table == COCORR_FP32) {
        memcpy(x, (const float *)m->parts.item_vectors.data + at, d * sizeof *x);
    } else if (m->parts.table == COCORR_FP16) {
        const uint16_t *restrict v = (const uint16_t *)m->parts.item_vectors.data + at;
        for (size_t i = 0; i < d; i++) x[i] = half(v[i]);
    } else {
        const int8_t *restrict v = (const int8_t *)m->parts.item_vectors.data + at;
        const float scale = ((const float *)m->parts.item_scales.data)[row];
        for (size_t i = 0; i < d; i++) x[i] = (float)v[i] * scale;
    }
}

/* The item vector of a row as the first layer reads it, in x. */
INLINE void first_input(cocorr_session *s, uint32_t row)
{
    const cocorr_model *m = s->model;
    item_vector(m, row, s->x);
    if (!m->sizes.gated) return;
    memcpy(s->normed, s->x, m->sizes.width * sizeof(float));
    rms_norm(s->x, s->normed, m->weights, m->sizes.width, m->rms_eps);
}

/* The weights behind those of the layers: the final norm [d], then cosines and sines of the slots. */
INLINE const float *final_weights(const cocorr_model *m)
{
    const cocorr_sizes *z = &m->sizes;
    return m->weights + (z->gated ? z->width : 0) + z->layers * layer_numbers(z);
}

/* Queries, keys, values [d] and sigmoids of the gates [H] of a layer's input. */
INLINE void project(cocorr_session *s, const layer_weights *w, const float *x, float *raw)
{
    const cocorr_sizes *z = &s->model->sizes;
    const uint32_t d = z->width;
    rms_norm(s->normed, x, w->input_norm, d, s->model->rms_eps);
    product(raw, s->normed, w->project, d, 3 * d + z->heads);
    for (uint32_t h = 0; h < z->heads; h++) raw[3 * d + h] = sigmoid(raw[3 * d + h] + w->gate_bias[h]);
}

/* What the heads give, to the block's output in x. */
INLINE void join(cocorr_session *s, const layer_weights *w)
{
    const cocorr_sizes *z = &s->model->sizes;
    const uint32_t d = z->width;
    const float eps = s->model->norm_eps;
    float *restrict x = s->x, *restrict out = s->heads, *restrict mixed = s->mixed;
    standardise(out, d, eps);
    for (uint32_t i = 0; i < d; i++) out[i] = out[i] * w->post_weight[i] + w->post_bias[i];
    if (!z->gated) {
        product(x, out, w->output, d, d);
        return;
    }
    product(mixed, out, w->output, d, d);
    for (uint32_t i = 0; i < d; i++) x[i] += mixed[i];
    rms_norm(s->normed, x, w->gate_norm, d, s->model->rms_eps);
    float *restrict wide = s->wide;
    product(wide, s->normed, w->wide, d, 4 * d);
    for (uint32_t i = 0; i < 2 * d; i++) wide[i] = wide[i] * sigmoid(wide[i]) * wide[2 * d + i];
    product(mixed, wide, w->narrow, 2 * d, d);
    for (uint32_t i = 0; i < d; i++) x[i] += mixed[i];
}

/* One click of a layer: its key and gradient go into the state, and x becomes the block's output if it is wanted. */
INLINE void layer_click(
    cocorr_session *s, const layer_weights *w, const float *raw, float *state, uint32_t slot, const float *cosine,
    const float *sine, int wanted)
{
    const cocorr_sizes *z = &s->model->sizes;
    const uint32_t d = z->width, f = z->head_width, K = z->mini_batch;
    const float eps = s->model->norm_eps;
    for (uint32_t h = 0; h < z->heads; h++, state += (size_t)(f + 1 + 2 * K) * f) {
        float *W = state, *b = W + f * f, *keys = b + f, *grads = keys + (size_t)K * f;
        float *restrict k = keys + (size_t)slot * f, *restrict g = grads + (size_t)slot * f;
        float *restrict r = s->residual, *restrict xhat = s->mixed;
        const float *restrict gamma = w->gamma + h * f, *restrict beta = w->beta + h * f;
        const float *restrict v = raw + 2 * d + h * f;
        turn(k, raw + d + h * f, cosine, sine, f);
        product(xhat, k, W, f, f);
        for (uint32_t i = 0; i < f; i++) xhat[i] += b[i];
        const float rstd = standardise(xhat, f, eps);
        float sum = 0, pull = 0;
        for (uint32_t i = 0; i < f; i++) {
            r[i] = (xhat[i] * gamma[i] + (beta[i] + k[i] - v[i])) * gamma[i];
            sum += r[i];
            pull += r[i] * xhat[i];
        }
        sum /= (float)f, pull /= (float)f;
        const float rate = rstd * raw[3 * d + h];
        for (uint32_t i = 0; i < f; i++) g[i] = (r[i] - sum - xhat[i] * pull) * rate;
        if (!wanted) continue;
        float *restrict q = s->query, *restrict out = s->heads + h * f;
        turn(q, raw + h * f, cosine, sine, f);
        product(out, q, W, f, f);
        for (uint32_t i = 0; i < f; i++) r[i] = 0;
        for (uint32_t j = 0; j <= slot; j++) {
            const float share = dot(q, keys + (size_t)j * f, f) + 1;
            const float *restrict grad = grads + (size_t)j * f;
            for (uint32_t i = 0; i < f; i++) r[i] += share * grad[i];
        }
        for (uint32_t i = 0; i < f; i++) out[i] += b[i] - w->steps[slot] * r[i];
        standardise(out, f, eps);
        for (uint32_t i = 0; i < f; i++) out[i] = out[i] * gamma[i] + beta[i] + q[i];
    }
    if (wanted) join(s, w);
}

/* A full mini-batch becomes part of W and b. */
INLINE void fold(const cocorr_model *m, float *state)
{
    const cocorr_sizes *z = &m->sizes;
    const size_t f = z->head_width, K = z->mini_batch;
    for (uint32_t layer = 0; layer < z->layers; layer++) {
        const float step = weights_of(m, layer).steps[K - 1];
        for (uint32_t h = 0; h < z->heads; h++, state += (f + 1 + 2 * K) * f) {
            float *restrict W = state, *restrict b = W + f * f, *restrict keys = b + f, *restrict grads = keys + K * f;
            for (size_t j = 0; j < K; j++) {
                const float *restrict k = keys + j * f, *restrict g = grads + j * f;
                for (size_t n = 0; n < f; n++)
                    for (size_t i = 0; i < f; i++) W[n * f + i] -= step * k[n] * g[i];
                for (size_t i = 0; i < f; i++) b[i] -= step * g[i];
            }
            memset(keys, 0, 2 * K * f * sizeof(float));
        }
    }
}

/* The click with this number, of a state in which "before" clicks were read. Leaves the last layer's output in x. */
BY_PROCESSOR static void read_click(
    cocorr_session *s, uint32_t row, uint64_t number, float *state, uint64_t before, int wanted)
{
    const cocorr_model *m = s->model;
    const cocorr_sizes *z = &m->sizes;
    const size_t d = z->width, f = z->head_width, slot = before % z->mini_batch, all = 3 * d + z->heads;
    if (before && !slot) fold(m, state);
    const float *final_norm = final_weights(m);
    const float *cosine = final_norm + d + slot * (f / 2), *sine = cosine + (size_t)z->mini_batch * (f / 2);
    const float *raw = s->raw;
    layer_weights w = weights_of(m, 0);
    const size_t place = number % z->window;
    float *kept = s->policy == COCORR_WINDOW ? s->cache + place * all : s->raw;
    const int known = s->policy == COCORR_WINDOW && s->cache_rows[place] == row;
    if (!known || z->layers > 1 || (wanted && z->gated)) {
        first_input(s, row);
        if (!known) {
            project(s, &w, s->x, kept);
            s->cache_rows[place] = s->policy == COCORR_WINDOW ? row : 0;
        }
    }
    raw = kept;
    for (uint32_t layer = 0; layer < z->layers; layer++, state += d * (f + 1 + 2 * (size_t)z->mini_batch)) {
        if (layer) {
            w = weights_of(m, layer);
            project(s, &w, s->x, s->raw);
            raw = s->raw;
        }
        layer_click(s, &w, raw, state, (uint32_t)slot, cosine, sine, wanted || layer + 1 < z->layers);
    }
    if (wanted) rms_norm(s->normed, s->x, final_norm, (uint32_t)d, m->rms_eps);
}

static uint32_t recent_row(const cocorr_session *s, uint64_t number)
{
    return (uint32_t)s->recent[number % s->model->sizes.recent];
}

/* Mean, and deviation with n - 1; 0 of a lone number. */
INLINE void moments(const float *x, uint32_t n, float *mean, float *deviation)
{
    float sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    *mean = sum / (float)n;
    for (uint32_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *deviation = n > 1 ? sqrtf(squares / (float)(n - 1)) : 0;
}

/* Adds what was sent, brought to the moments of the device's own (eqs. 14 and 15). */
INLINE void fuse(float *restrict own, const float *restrict sent, uint32_t n, float weight)
{
    float mean, deviation, sent_mean, sent_deviation;
    moments(own, n, &mean, &deviation);
    moments(sent, n, &sent_mean, &sent_deviation);
    const float factor = deviation / (sent_deviation + MOMENT_EPS);
    for (uint32_t i = 0; i < n; i++) own[i] += weight * ((sent[i] - sent_mean) * factor + mean);
}

/* The last click again, with a correction; the state is only read. Leaves the layer's output in x. */
BY_PROCESSOR static void read_corrected(cocorr_session *s, const float *attention, const float *bias)
{
    const cocorr_model *m = s->model;
    const cocorr_sizes *z = &m->sizes;
    const uint32_t d = z->width, f = z->head_width, K = z->mini_batch;
    const uint64_t read = s->policy == COCORR_WINDOW && s->clicks > z->window ? z->window : s->clicks;
    const size_t slot = (read - 1) % K;
    const layer_weights w = weights_of(m, 0);
    const float *final_norm = final_weights(m);
    const float *cosine = final_norm + d + slot * (f / 2), *sine = cosine + (size_t)K * (f / 2), *state = s->state;
    float *restrict q = s->query, *restrict shares = s->shares, *restrict r = s->residual, *restrict b = s->mixed;
    first_input(s, recent_row(s, s->clicks - 1));
    project(s, &w, s->x, s->raw);
    for (uint32_t h = 0; h < z->heads; h++, state += (size_t)(f + 1 + 2 * K) * f) {
        const float *restrict W = state, *restrict keys = W + f * f + f, *restrict grads = keys + (size_t)K * f;
        const float *restrict gamma = w.gamma + h * f, *restrict beta = w.beta + h * f;
        float *restrict out = s->heads + h * f;
        turn(q, s->raw + h * f, cosine, sine, f);
        for (size_t j = 0; j <= slot; j++) shares[j] = dot(q, keys + j * f, f);
        fuse(shares, attention + (h * (size_t)K + slot) * K, (uint32_t)slot + 1, m->alpha);
        for (uint32_t i = 0; i < f; i++) r[i] = b[i] = 0;
        for (size_t j = 0; j <= slot; j++)
            for (uint32_t i = 0; i < f; i++) r[i] += shares[j] * grads[j * f + i], b[i] += grads[j * f + i];
        for (uint32_t i = 0; i < f; i++) b[i] = W[f * f + i] - w.steps[slot] * b[i];
        fuse(b, bias + (h * (size_t)K + slot) * f, f, m->beta);
        product(out, q, W, f, f);
        for (uint32_t i = 0; i < f; i++) out[i] += b[i] - w.steps[slot] * r[i];
        standardise(out, f, m->norm_eps);
        for (uint32_t i = 0; i < f; i++) out[i] = out[i] * gamma[i] + beta[i] + q[i];
    }
    join(s, &w);
    rms_norm(s->normed, s->x, final_norm, d, m->rms_eps);
}

/* The last clicks, at most L, read from the initial state into spare; "rows" come after those of the session. */
static void read_window(cocorr_session *s, const uint32_t *rows, uint64_t count)
{
    const cocorr_model *m = s->model;
    const uint64_t total = s->clicks + count, length = total < m->sizes.window ? total : m->sizes.window;
    initial_state(m, s->spare);
    for (uint64_t i = 0; i < length; i++) {
        const uint64_t number = total - length + i;
        const uint32_t row = number < s->clicks ? recent_row(s, number) : rows[number - s->clicks];
        read_click(s, row, number, s->spare, i, i + 1 == length);
    }
}

static void swap_states(cocorr_session *s)
{
    float *before = s->state;
    s->state = s->spare;
    s->spare = before;
}

/* -- the neighbour table ---------------------------------------------------------------------------------------- */

static uint32_t neighbour(const cocorr_parts *p, size_t cell)
{
    return p->items <= 1u << 16 ? ((const uint16_t *)p->neighbour_items.data)[cell]
                                : ((const uint32_t *)p->neighbour_items.data)[cell];
}

/* Where the entries of a row stand. The file may have changed since the model was opened, so this looks again. */
static int row_of_table(const cocorr_parts *p, uint32_t row, uint32_t *from, uint32_t *to)
{
    const uint32_t *indptr = p->neighbour_indptr.data;
    *from = indptr[row], *to = indptr[row + 1];
    return *from <= *to && *to <= p->neighbour_weights.bytes && *to - *from <= LONGEST_ROW * p->neighbours;
}

static int neighbours_fit(const cocorr_parts *p, uint32_t row)
{
    uint32_t from, to;
    if (!row_of_table(p, row, &from, &to)) return 0;
    for (uint32_t cell = from; cell < to; cell++)
        if (neighbour(p, cell) >= p->items) return 0;
    return is_finite(((const float *)p->neighbour_scales.data)[row]);
}

static void speak_for(cocorr_session *s, uint32_t row)
{
    const cocorr_parts *p = &s->model->parts;
    uint32_t from, to;
    s->age++;
    s->unit *= p->decay;
    if (!row_of_table(p, row, &from, &to)) return;
    const double scale = ((const float *)p->neighbour_scales.data)[row] / s->unit;
    for (uint32_t cell = from; cell < to; cell++) {
        const uint32_t item = neighbour(p, cell);
        if (!item || item >= p->items) continue; /* again: the file may have changed since it was looked at */
        const uint8_t bit = (uint8_t)(1u << item % 8);
        if (!(s->in_p[item / 8] & bit)) {
            if (s->speaking == s->most_speaking) continue;
            s->in_p[item / 8] |= bit;
            s->speak[s->speaking++] = item;
        }
        s->p[item] += ((const int8_t *)p->neighbour_weights.data)[cell] * scale;
    }
}

/* p of the last T clicks and of no others. */
static void speak_anew(cocorr_session *s)
{
    const uint64_t T = s->model->parts.neighbour_clicks, count = s->clicks < T ? s->clicks : T;
    for (uint32_t i = 0; i < s->speaking; i++) s->p[s->speak[i]] = 0, s->in_p[s->speak[i] / 8] = 0;
    s->speaking = 0, s->unit = 1;
    for (uint64_t i = s->clicks - count; i < s->clicks; i++) speak_for(s, recent_row(s, i));
    s->age = 0;
}

/* -- calls ------------------------------------------------------------------------------------------------------ */

static int check_rows(const cocorr_session *s, const uint32_t *rows, uint64_t count, int clicked)
{
    const cocorr_parts *p = &s->model->parts;
    if (count && !rows) return COCORR_BAD_ARGUMENT;
    for (uint64_t i = 0; i < count; i++) {
        if (!rows[i] || rows[i] >= p->items) return COCORR_BAD_ROW;
        if (clicked && p->neighbours && !neighbours_fit(p, rows[i])) return COCORR_BAD_NEIGHBOURS;
    }
    return COCORR_OK;
}

int cocorr_click(cocorr_session *s, uint32_t row)
{
    const cocorr_model *m = s->model;
    const cocorr_sizes *z = &m->sizes;
    int status = check_rows(s, &row, 1, 1), swapped = 1;
    if (status) return status;
    const uint64_t slot = s->clicks % z->mini_batch;
    if (s->policy == COCORR_WINDOW && s->clicks >= z->window) {
        read_window(s, &row, 1);
        swap_states(s);
    } else if (s->clicks && !slot) {
        memcpy(s->spare, s->state, z->state * sizeof(float));
        read_click(s, row, s->clicks, s->spare, s->clicks, 1);
        swap_states(s);
    } else {
        read_click(s, row, s->clicks, s->state, s->clicks, 1);
        swapped = 0;
    }
    if (!all_finite(s->normed, z->width)) {
        if (swapped) {
            swap_states(s);
        } else {
            const size_t f = z->head_width, blocks = (size_t)z->layers * z->heads, size = f + 1 + 2 * (size_t)z->mini_batch;
            for (size_t n = 0; n < blocks; n++) {
                float *key = s->state + (n * size + f + 1 + slot) * f;
                memset(key, 0, f * sizeof(float));
                memset(key + z->mini_batch * f, 0, f * sizeof(float));
            }
        }
        return COCORR_BAD_USER;
    }
    memcpy(s->user, s->normed, z->width * sizeof(float));
    s->recent[s->clicks++ % z->recent] = (int32_t)row;
    if (m->parts.neighbours) {
        if (s->age == m->parts.neighbour_clicks)
            speak_anew(s);
        else
            speak_for(s, row);
    }
    return COCORR_OK;
}

int cocorr_history(cocorr_session *s, const uint32_t *rows, uint64_t count)
{
    const cocorr_sizes *z = &s->model->sizes;
    const int status = check_rows(s, rows, count, 1);
    if (status || !count) return status;
    if (s->policy == COCORR_WINDOW) {
        read_window(s, rows, count);
    } else {
        memcpy(s->spare, s->state, z->state * sizeof(float));
        for (uint64_t i = 0; i < count; i++)
            read_click(s, rows[i], s->clicks + i, s->spare, s->clicks + i, i + 1 == count);
    }
    if (!all_finite(s->normed, z->width)) return COCORR_BAD_USER;
    swap_states(s);
    memcpy(s->user, s->normed, z->width * sizeof(float));
    for (uint64_t i = 0; i < count; i++) s->recent[s->clicks++ % z->recent] = (int32_t)rows[i];
    if (s->model->parts.neighbours) speak_anew(s);
    return COCORR_OK;
}

uint64_t cocorr_clicks(const cocorr_session *s) { return s->clicks; }

const float *cocorr_user(const cocorr_session *s) { return s->user; }

int cocorr_set_user(cocorr_session *s, const float *user)
{
    if (!all_finite(user, s->model->sizes.width)) return COCORR_BAD_USER;
    memcpy(s->user, user, s->model->sizes.width * sizeof(float));
    return COCORR_OK;
}

uint32_t cocorr_upload(const cocorr_session *s, float *hidden_states)
{
    const cocorr_model *m = s->model;
    const uint32_t d = m->sizes.width, n = (uint32_t)(s->clicks < m->sizes.window ? s->clicks : m->sizes.window);
    if (!m->corrects || !m->parts.upload_norm.bytes) return 0;
    for (uint32_t i = 0; i < n; i++) {
        item_vector(m, recent_row(s, s->clicks - n + i), s->x);
        rms_norm(hidden_states + i * (size_t)d, s->x, m->parts.upload_norm.data, d, m->rms_eps);
    }
    return all_finite(hidden_states, n * (uint64_t)d) ? n : 0;
}

int cocorr_correct(cocorr_session *s, const float *attention, const float *bias)
{
    const cocorr_sizes *z = &s->model->sizes;
    const uint64_t rows = (uint64_t)z->heads * z->mini_batch;
    if (!s->model->corrects) return COCORR_NO_CORRECTION;
    if (!s->clicks) return COCORR_NO_CLICK;
    if (!all_finite(attention, rows * z->mini_batch) || !all_finite(bias, rows * z->head_width)) return COCORR_BAD_ARGUMENT;
    read_corrected(s, attention, bias);
    if (!all_finite(s->normed, z->width)) return COCORR_BAD_USER;
    memcpy(s->user, s->normed, z->width * sizeof(float));
    return COCORR_OK;
}

/* Scores of rows, or of those from "first" on, by the user vector. */
BY_PROCESSOR static void plain_scores(
    const cocorr_session *s, const uint32_t *rows, size_t first, size_t count, float *restrict scores)
{
    const cocorr_parts *p = &s->model->parts;
    const size_t d = s->model->sizes.width;
    const float *restrict user = s->user;
    for (size_t n = 0; n < count; n++) {
        const size_t row = rows ? rows[n] : first + n;
        float sum = 0;
        if (p->table == COCORR_INT8) {
            const int8_t *restrict v = (const int8_t *)p->target_vectors.data + row * d;
            for (size_t i = 0; i < d; i++) sum += (float)v[i] * user[i];
            sum *= ((const float *)p->target_scales.data)[row];
        } else if (p->table == COCORR_FP16) {
            const uint16_t *restrict v = (const uint16_t *)p->target_vectors.data + row * d;
            for (size_t i = 0; i < d; i++) sum += half(v[i]) * user[i];
        } else {
            const float *restrict v = (const float *)p->target_vectors.data + row * d;
            for (size_t i = 0; i < d; i++) sum += v[i] * user[i];
        }
        scores[n] = sum;
    }
}

/* How far the neighbour table is trusted after so many clicks. */
static double trust(const cocorr_session *s)
{
    const cocorr_parts *p = &s->model->parts;
    const double weight = p->neighbours ? p->base + p->per_log_click * log_of((double)s->clicks) : 0;
    return weight > 0 ? weight : 0;
}

static float with_neighbours(const cocorr_session *s, float score, uint32_t row, double weight)
{
    if (weight == 0 || s->p[row] == 0) return score;
    const double p = s->p[row] * s->unit / s->model->parts.scale;
    return is_finite_double(p) ? (float)(score + weight * asinh_of(p)) : (float)p;
}

int cocorr_scores(cocorr_session *s, const uint32_t *rows, uint64_t count, int neighbours, float *scores)
{
    if (!s->clicks) return COCORR_NO_CLICK;
    const int status = check_rows(s, rows, count, 0);
    if (status) return status;
    plain_scores(s, rows, 0, (size_t)count, scores);
    const double weight = neighbours ? trust(s) : 0;
    for (uint64_t i = 0; weight > 0 && i < count; i++) scores[i] = with_neighbours(s, scores[i], rows[i], weight);
    return all_finite(scores, count) ? COCORR_OK : COCORR_BAD_SCORE;
}

/* The best k so far as a heap with the worst on top: of equal scores the later place is the worse one. */
static int worse(float score, uint32_t place, float other_score, uint32_t other_place)
{
    return score < other_score || (score == other_score && place > other_place);
}

static void sink(uint32_t *places, float *scores, uint64_t at, uint64_t size)
{
    const uint32_t place = places[at];
    const float score = scores[at];
    for (uint64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && worse(scores[child + 1], places[child + 1], scores[child], places[child])) child++;
        if (!worse(scores[child], places[child], score, place)) break;
        places[at] = places[child], scores[at] = scores[child];
    }
    places[at] = place, scores[at] = score;
}

static void offer(uint32_t *places, float *scores, uint64_t *size, uint64_t k, float score, uint32_t place)
{
    if (*size == k) {
        if (worse(score, place, scores[0], places[0])) return;
        places[0] = place, scores[0] = score;
        sink(places, scores, 0, k);
        return;
    }
    uint64_t at = (*size)++;
    for (; at && worse(score, place, scores[(at - 1) / 2], places[(at - 1) / 2]); at = (at - 1) / 2)
        places[at] = places[(at - 1) / 2], scores[at] = scores[(at - 1) / 2];
    places[at] = place, scores[at] = score;
}

static void best_first(uint32_t *places, float *scores, uint64_t size)
{
    while (size > 1) {
        const uint32_t place = places[0];
        const float score = scores[0];
        size--;
        places[0] = places[size], scores[0] = scores[size];
        places[size] = place, scores[size] = score;
        sink(places, scores, 0, size);
    }
}

int cocorr_rank(
    cocorr_session *s, const uint32_t *rows, uint64_t count, uint64_t k, uint32_t *places, float *scores,
    uint64_t *found)
{
    float block[BLOCK];
    *found = 0;
    if (!k || count > UINT32_MAX) return COCORR_BAD_ARGUMENT;
    for (uint64_t from = 0; from < count; from += BLOCK) {
        const uint64_t part = count - from < BLOCK ? count - from : BLOCK;
        const int status = cocorr_scores(s, rows + from, part, 1, block);
        if (status) return status;
        for (uint64_t i = 0; i < part; i++) offer(places, scores, found, k, block[i], (uint32_t)(from + i));
    }
    best_first(places, scores, *found);
    return s->clicks ? COCORR_OK : COCORR_NO_CLICK;
}

int cocorr_rank_all(
    cocorr_session *s, uint64_t k, const uint32_t *exclude, uint64_t count, uint32_t *rows, float *scores,
    uint64_t *found)
{
    const uint32_t items = s->model->sizes.items;
    float block[BLOCK];
    *found = 0;
    if (!s->clicks) return COCORR_NO_CLICK;
    int status = k ? check_rows(s, exclude, count, 0) : COCORR_BAD_ARGUMENT;
    if (status) return status;
    for (uint64_t i = 0; i < count; i++) s->excluded[exclude[i] / 8] |= (uint8_t)(1u << exclude[i] % 8);
    const double weight = trust(s);
    for (uint64_t from = 1; from < items; from += BLOCK) {
        const uint32_t part = (uint32_t)(items - from < BLOCK ? items - from : BLOCK);
        plain_scores(s, NULL, (size_t)from, part, block);
        for (uint32_t i = 0; weight > 0 && i < part; i++)
            block[i] = with_neighbours(s, block[i], (uint32_t)from + i, weight);
        for (uint32_t i = 0; i < part; i++) {
            const uint32_t row = (uint32_t)from + i;
            if (s->excluded[row / 8] >> row % 8 & 1) continue;
            if (!is_finite(block[i])) status = COCORR_BAD_SCORE;
            if (*found < k || block[i] > scores[0]) offer(rows, scores, found, k, block[i], row);
        }
    }
    for (uint64_t i = 0; i < count; i++) s->excluded[exclude[i] / 8] = 0;
    if (!status) best_first(rows, scores, *found);
    return status;
}

uint32_t cocorr_recent(const cocorr_session *s, int32_t *rows)
{
    const uint32_t M = s->model->sizes.recent, count = s->clicks < M ? (uint32_t)s->clicks : M;
    for (uint32_t i = 0; i < count; i++) rows[i] = (int32_t)recent_row(s, s->clicks - count + i);
    return count;
}

void cocorr_state(const cocorr_session *s, float *state)
{
    memcpy(state, s->state, s->model->sizes.state * sizeof(float));
}

int cocorr_restore(
    cocorr_session *s, uint64_t clicks, const int32_t *recent, uint32_t count, const float *user, const float *state)
{
    const cocorr_sizes *z = &s->model->sizes;
    const cocorr_parts *p = &s->model->parts;
    if (count != (clicks < z->recent ? clicks : z->recent)) return COCORR_BAD_STATE;
    for (uint32_t i = 0; i < count; i++) {
        if (recent[i] <= 0 || (uint32_t)recent[i] >= z->items) return COCORR_BAD_STATE;
        if (p->neighbours && !neighbours_fit(p, (uint32_t)recent[i])) return COCORR_BAD_NEIGHBOURS;
    }
    if (!all_finite(user, z->width) || !all_finite(state, z->state)) return COCORR_BAD_STATE;
    memcpy(s->user, user, z->width * sizeof(float));
    memcpy(s->state, state, z->state * sizeof(float));
    s->clicks = clicks;
    for (uint32_t i = 0; i < count; i++) s->recent[(clicks - count + i) % z->recent] = recent[i];
    if (p->neighbours) speak_anew(s);
    return COCORR_OK;
}
