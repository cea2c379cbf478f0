/* The functions of <string.h> that the engine needs, where there is no C library; wasm.c defines it. */
#ifndef POCKETRNN_WASM_STRING_H
#define POCKETRNN_WASM_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
void *memchr(const void *bytes, int byte, size_t size);

#endif
