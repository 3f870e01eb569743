/* What the library takes from C's own, for WebAssembly, which has none; cocorr_wasm.c has the bodies. */
#ifndef COCORR_STRING_H
#define COCORR_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#endif
