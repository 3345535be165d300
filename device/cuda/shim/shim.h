#pragma once

#include <stdint.h>

// Number and names of the entries, in the order of entries.h.
int shim_count(void);
const char *shim_name(int i);

// Points an entry at a function; NULL is one that answers CUDA_ERROR_NOT_SUPPORTED.
void shim_set(int i, void *function);
