//go:build cuda

#include "_cgo_export.h"

#include <stdio.h>

// cuda.h renames calls to their newest versions: the name is the renamed one.
#define NAME_(call) #call
#define NAME(call) NAME_(call)
#define ENTRY(call) {NAME(call), (void *)bridge_##call}

static const bridge_entry entries[] = {
    ENTRY(cuCtxSetCurrent), ENTRY(cuDeviceGet), ENTRY(cuDeviceGetAttribute), ENTRY(cuDeviceGetCount),
    ENTRY(cuDeviceGetName), ENTRY(cuDevicePrimaryCtxRelease), ENTRY(cuDevicePrimaryCtxRetain),
    ENTRY(cuDeviceTotalMem), ENTRY(cuDriverGetVersion), ENTRY(cuEventCreate), ENTRY(cuEventDestroy),
    ENTRY(cuEventElapsedTime), ENTRY(cuEventRecord), ENTRY(cuEventSynchronize), ENTRY(cuFuncSetAttribute),
    ENTRY(cuGraphAddKernelNode), ENTRY(cuGraphCreate), ENTRY(cuGraphDestroy), ENTRY(cuGraphExecDestroy),
    ENTRY(cuGraphInstantiate), ENTRY(cuGraphLaunch), ENTRY(cuInit), ENTRY(cuLaunchKernel), ENTRY(cuMemAlloc),
    ENTRY(cuMemFree), ENTRY(cuMemFreeHost), ENTRY(cuMemGetInfo), ENTRY(cuMemHostAlloc), ENTRY(cuMemcpyDtoDAsync),
    ENTRY(cuMemcpyDtoHAsync), ENTRY(cuMemcpyHtoDAsync), ENTRY(cuMemsetD32Async), ENTRY(cuModuleGetFunction),
    ENTRY(cuModuleLoadDataEx), ENTRY(cuModuleUnload), ENTRY(cuStreamCreate), ENTRY(cuStreamDestroy),
    ENTRY(cuStreamSynchronize),
};
const bridge_entry *bridge_entries(void) { return entries; }
int bridge_count(void) { return sizeof entries / sizeof *entries; }

static __thread CUcontext current;
static __thread char detail[8192];

CUcontext bridge_current(void) { return current; }
void bridge_set_current(CUcontext c) { current = c; }
const char *bridge_detail(void) { return detail; }
void bridge_set_detail(const char *s) { snprintf(detail, sizeof detail, "%s", s); }
