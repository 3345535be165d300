package main

const help = `ptxrun runs a CUDA kernel, compiled to PTX, on the processor, and checks it. No card or driver is needed.

    nvcc -ptx -arch=compute_80 -lineinfo axpy.cu
    ptxrun -ptx axpy.ptx -entry axpy -grid 8 -block 256 \
        -arg i32:2000 -arg f32:0.5 -arg in:x.npy -arg inout:y.npy --sanitize

The kernel:
    -ptx FILE           its text, from nvcc -ptx or NVRTC; with -lineinfo reports name lines of the .cu
    -entry NAME         its name, as in the PTX (extern "C" keeps it readable)
    -grid X,Y,Z         blocks
    -block X,Y,Z        threads of a block
    -shared BYTES       dynamic shared memory

Arguments, in the order of its parameters:
    -arg in:FILE.npy    a pointer to the elements of the file
    -arg out:FILE.npy:TYPE:SHAPE
                        a pointer to zeros; the file is written when the kernel is done. SHAPE is 64x10
    -arg inout:FILE.npy a pointer to the elements of the file, which is rewritten when the kernel is done
    -arg TYPE:NUMBER    a number, such as i32:5 or f32:0.5; u64:0 is a null pointer
    -const NAME=FILE.npy
                        sets a __constant__ or __device__ variable
Types are f32 f64 f16 i32 i64 u8 u16 u32 u64.

What to do:
    --sanitize          check accesses, initialisation, races and barriers, and report
    --counters          print counts of instructions, memory traffic and more
    --float MODE        exact (default): correctly rounded; pessimistic: approximate instructions are off by what their
                        documentation allows; contract: mul and add are fused where ptxas may fuse them
    --seed N            run blocks and warps in another order
    --card NAME         whose limits hold; A100 if not said. With --counters also an estimate of the time on that card
    --resources FILE    what ptxas -v prints, for the registers and shared memory of that estimate
    --json              print one object with "reports" and "counters", and "estimate" where there is one

Exit status: 0, or 1 when there are reports, or 2 for malformed or unsupported PTX, for wrong usage and for files that
cannot be read or written. A run that cannot be finished (status 1: a trap, the watchdog, an illegal address without
--sanitize) and status 2 leave all files as they were.
`
