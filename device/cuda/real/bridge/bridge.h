#pragma once

#include <cuda.h>

// The entry points that the bridge defines, by their names in libcuda.so.1.
typedef struct {
  const char *name;
  void *function;
} bridge_entry;
const bridge_entry *bridge_entries(void);
int bridge_count(void);

// The calling thread's current context, and what was wrong with its last call that failed.
CUcontext bridge_current(void);
void bridge_set_current(CUcontext);
const char *bridge_detail(void);
void bridge_set_detail(const char *);
