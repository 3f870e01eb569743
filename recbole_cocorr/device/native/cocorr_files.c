/* An artifact's folder: its manifest read, its arrays mapped. Apart, because a host without files needs none of it. */
#define _POSIX_C_SOURCE 200809L

#include "cocorr.h"

#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_MANIFEST (1 << 20)

/* -- JSON: where the value of a key stands. The text ends with a zero. ------------------------------------------ */

static const char *after_space(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') p++;
    return p;
}

/* After a string that begins at p, or NULL. */
static const char *after_string(const char *p)
{
    for (p++; *p != '"'; p++) {
        if (*p == '\\') p++;
        if (!*p) return NULL;
    }
    return p + 1;
}

/* After any value. Brackets are counted, not matched by kind: a damaged text is skipped wrongly, but not left. */
static const char *after_value(const char *p)
{
    int depth = 0;
    do {
        p = after_space(p);
        if (!*p) return NULL;
        if (*p == '"') {
            if (!(p = after_string(p))) return NULL;
        } else if (*p == '{' || *p == '[') {
            depth++, p++;
        } else if (*p == '}' || *p == ']') {
            if (!depth) return NULL;
            depth--, p++;
        } else if (*p == ',' || *p == ':') {
            if (!depth) return NULL;
            p++;
        } else {
            while (*p && !strchr(" \n\r\t,:{}[]\"", *p)) p++;
        }
    } while (depth);
    return p;
}

/* The value of a key of the object at p, or NULL. */
static const char *value_of(const char *p, const char *key)
{
    const size_t length = strlen(key);
    if (!p || *p != '{') return NULL;
    p = after_space(p + 1);
    while (*p == '"') {
        const char *name = p + 1;
        if (!(p = after_string(p))) return NULL;
        const int is_key = (size_t)(p - 1 - name) == length && !memcmp(name, key, length);
        p = after_space(p);
        if (*p != ':') return NULL;
        p = after_space(p + 1);
        if (is_key) return p;
        if (!(p = after_value(p))) return NULL;
        p = after_space(p);
        if (*p != ',') return NULL;
        p = after_space(p + 1);
    }
    return NULL;
}

/* Not strtod, which reads by the locale. */
static int number_of(const char *p, double *value)
{
    double x = 0, ten = 1;
    int digits = 0, power = 0, exponent = 0, sign = 1;
    if (!p) return 0;
    const int negative = *p == '-';
    for (p += negative; *p >= '0' && *p <= '9'; p++, digits++) x = 10 * x + (*p - '0');
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++, digits++, power--) x = 10 * x + (*p - '0');
    if (!digits || digits > 300) return 0;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+') sign = *p++ == '-' ? -1 : 1;
        if (*p < '0' || *p > '9') return 0;
        for (; *p >= '0' && *p <= '9'; p++) exponent = exponent < 1000 ? 10 * exponent + (*p - '0') : exponent;
    }
    power += sign * exponent;
    if (power > 300 || power < -600) return 0;
    for (int i = power < 0 ? -power : power; i; i--) ten *= 10;
    if (power < -300) return x = 0, *value = 0, 1;
    x = power < 0 ? x / ten : x * ten;
    *value = negative ? -x : x;
    return 1;
}

static int whole_of(const char *p, uint64_t most, uint64_t *value)
{
    uint64_t x = 0;
    if (!p || *p < '0' || *p > '9') return 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        x = 10 * x + (uint64_t)(*p - '0');
        if (x > most) return 0;
    }
    if (!strchr(" \n\r\t,}", *p)) return 0;
    *value = x;
    return 1;
}

static int is_text(const char *p, const char *text)
{
    const size_t length = strlen(text);
    return p && *p == '"' && !strncmp(p + 1, text, length) && p[1 + length] == '"';
}

/* A plain file name, as the exporter gives it. */
static int file_of(const char *p, char name[101])
{
    size_t n = 0;
    if (!p || *p++ != '"') return 0;
    for (; *p != '"'; p++, n++) {
        const int letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (n == 100 || !(letter || (n && (*p == '.' || *p == '_' || *p == '-')))) return 0;
        name[n] = *p;
    }
    name[n] = 0;
    return n > 0;
}

/* -- files ------------------------------------------------------------------------------------------------------ */

static int open_file(const char *folder, const char *name, uint64_t *bytes)
{
    char path[4352];
    struct stat found;
    const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path) return -1;
    const int file = open(path, O_RDONLY | O_NONBLOCK);
    if (file < 0) return -1;
    if (fstat(file, &found) || !S_ISREG(found.st_mode)) {
        close(file);
        return -1;
    }
    *bytes = (uint64_t)found.st_size;
    return file;
}

static char *read_manifest(const char *folder)
{
    uint64_t bytes, at = 0;
    const int file = open_file(folder, "manifest.json", &bytes);
    if (file < 0) return NULL;
    char *text = bytes <= MOST_MANIFEST ? malloc((size_t)bytes + 1) : NULL;
    while (text && at < bytes) {
        const ssize_t n = read(file, text + at, (size_t)(bytes - at));
        if (n <= 0) break;
        at += (uint64_t)n;
    }
    close(file);
    if (text) text[at] = 0;
    return text;
}

static int map_array(cocorr_model *m, const char *folder, const char *arrays, const char *key, cocorr_part *part)
{
    const char *entry = value_of(arrays, key);
    uint64_t said, bytes;
    char name[101];
    if (!entry) return COCORR_OK; /* what must be there is missed when the sizes are compared */
    if (!file_of(value_of(entry, "file"), name) || !whole_of(value_of(entry, "bytes"), (uint64_t)1 << 40, &said))
        return COCORR_NO_MANIFEST;
    const int file = open_file(folder, name, &bytes);
    if (file < 0) return COCORR_NO_FILE;
    void *mapped = NULL;
    if (bytes == said && bytes && bytes <= SIZE_MAX / 2 && m->maps < 16)
        mapped = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (bytes != said || (bytes && (!mapped || mapped == MAP_FAILED))) return COCORR_NO_FILE;
    if (bytes) m->mapped[m->maps] = mapped, m->mapped_bytes[m->maps++] = bytes;
    part->data = mapped, part->bytes = bytes;
    return COCORR_OK;
}

static int open_manifest(cocorr_model *m, const char *folder, const char *text)
{
    static const char *const tables[] = {"fp32", "fp16", "int8"};
    cocorr_parts p;
    memset(&p, 0, sizeof p);
    const char *top = after_space(text), *arrays = value_of(top, "arrays"), *neighbours = value_of(top, "neighbours");
    uint64_t items, probes, version, count, clicks;
    if (!is_text(value_of(top, "format"), "recbole_cocorr.device")) return COCORR_NO_MANIFEST;
    if (!whole_of(value_of(top, "format_version"), 4, &version) || (version != 1 && version != 4))
        return COCORR_OTHER_VERSION;
    if (value_of(arrays, "popular_items")) return COCORR_OTHER_VERSION; /* this library adds none */
    if (!whole_of(value_of(top, "items"), (uint64_t)1 << 31, &items)) return COCORR_NO_MANIFEST;
    if (!whole_of(value_of(top, "probes"), 1 << 20, &probes) || !arrays) return COCORR_NO_MANIFEST;
    p.items = (uint32_t)items, p.probes = (uint32_t)probes;
    for (p.table = 0; p.table < 3 && !is_text(value_of(top, "table"), tables[p.table]);) p.table++;
    p.policy = is_text(value_of(top, "policy"), "window") ? COCORR_WINDOW : COCORR_CARRY;
    if (neighbours && *neighbours == '{') {
        if (!whole_of(value_of(neighbours, "count"), 1 << 10, &count) || !whole_of(value_of(neighbours, "clicks"), 1 << 12, &clicks))
            return COCORR_BAD_NEIGHBOURS;
        p.neighbours = (uint32_t)count, p.neighbour_clicks = (uint32_t)clicks;
        const int right = is_text(value_of(neighbours, "form"), "asinh") && number_of(value_of(neighbours, "decay"), &p.decay) &&
                          number_of(value_of(neighbours, "base"), &p.base) &&
                          number_of(value_of(neighbours, "per_log_click"), &p.per_log_click) &&
                          number_of(value_of(neighbours, "scale"), &p.scale);
        if (!right || !p.neighbours) return COCORR_BAD_NEIGHBOURS;
    }
    const struct {
        const char *key;
        cocorr_part *part;
    } wanted[] = {
        {"native", &p.native}, {"item_vectors", &p.item_vectors}, {"item_scales", &p.item_scales},
        {"target_vectors", &p.target_vectors}, {"target_scales", &p.target_scales},
        {"token_bytes", &p.token_bytes}, {"token_offsets", &p.token_offsets}, {"token_index", &p.token_index},
        {"neighbour_indptr", &p.neighbour_indptr}, {"neighbour_items", &p.neighbour_items},
        {"neighbour_weights", &p.neighbour_weights}, {"neighbour_scales", &p.neighbour_scales},
        {"upload_norm", &p.upload_norm},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const int status = map_array(m, folder, arrays, wanted[i].key, wanted[i].part);
        if (status) return status;
    }
    const int status = cocorr_open_parts(m, &p);
    if (status) return status;
    uint64_t width, window, size;
    if (!whole_of(value_of(top, "width"), 1 << 16, &width) || !whole_of(value_of(top, "window"), 1 << 16, &window) ||
        !whole_of(value_of(top, "mini_batch"), 1 << 16, &size))
        return COCORR_NO_MANIFEST;
    if (width != m->sizes.width || window != m->sizes.window || size != m->sizes.mini_batch) return COCORR_BAD_SIZES;
    return p.token_offsets.bytes ? COCORR_OK : COCORR_BAD_TOKENS;
}

int cocorr_open(cocorr_model *m, const char *folder)
{
    memset(m, 0, sizeof *m);
    char *text = read_manifest(folder);
    if (!text) return COCORR_NO_MANIFEST;
    const int status = open_manifest(m, folder, text);
    free(text);
    if (status) cocorr_close(m);
    return status;
}

void cocorr_close(cocorr_model *m)
{
    for (uint32_t i = 0; i < m->maps; i++) munmap(m->mapped[i], (size_t)m->mapped_bytes[i]);
    memset(m, 0, sizeof *m);
}

#else

int cocorr_open(cocorr_model *m, const char *folder)
{
    (void)folder;
    memset(m, 0, sizeof *m);
    return COCORR_UNSUPPORTED;
}

void cocorr_close(cocorr_model *m) { memset(m, 0, sizeof *m); }

#endif
