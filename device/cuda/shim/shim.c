//go:build cuda

#include "shim.h"

#include <stddef.h>

// Codes of CUresult: this file does without cuda.h, whose prototypes the entries below would contradict.
static int success(void) { return 0; }
static int no_device(void) { return 100; }
static int not_supported(void) { return 801; }

// One instruction sequence that leaves all arguments and the return address as they are.
#if defined(__x86_64__)
#define JUMP(name) "jmp *shim_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name) "adrp x16, shim_" #name "\nldr x16, [x16, #:lo12:shim_" #name "]\nbr x16\n"
#else
#error "the driver shim knows amd64 and arm64"
#endif

// Hidden: a libcuda.so.1 opened later must not find these in its own stead.
#define ENTRY(name)                                                                                           \
  __attribute__((visibility("hidden"))) void *shim_##name = (void *)no_device;                                \
  __asm__(".text\n.p2align 4\n.globl " #name "\n.hidden " #name "\n.type " #name ", %function\n" #name ":\n"  \
          JUMP(name) ".size " #name ", .-" #name "\n.previous\n");
#include "entries.h"
#undef ENTRY

static struct {
  const char *name;
  void **function;
} entries[] = {
#define ENTRY(name) {#name, &shim_##name},
#include "entries.h"
#undef ENTRY
};

__attribute__((constructor)) static void start(void) { shim_cuInit = (void *)success; }

int shim_count(void) { return sizeof entries / sizeof *entries; }
const char *shim_name(int i) { return entries[i].name; }
void shim_set(int i, void *function) { *entries[i].function = function ? function : (void *)not_supported; }
