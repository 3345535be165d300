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
    -cooperative        a cooperative launch; kernels with a barrier of the whole grid get one without asking
    -repeat N           launch it N times
    --then              another launch follows, over the same buffers, with its own -entry, -grid, -block and -arg

Arguments, in the order of its parameters:
    -arg in:FILE.npy    a pointer to the elements of the file
    -arg out:FILE.npy:TYPE:SHAPE
                        a pointer to zeros; the file is written when the kernel is done. SHAPE is 64x10
    -arg inout:FILE.npy a pointer to the elements of the file, which is rewritten when the kernel is done
    -arg alloc:TYPE:SHAPE
                        a pointer to memory that nobody has written; alloc:FILE.npy:TYPE:SHAPE stores it in the end
    -arg TYPE:NUMBER    a number, such as i32:5 or f32:0.5; u64:0 is a null pointer
    -arg TYPE[N]:{a,b}  an array of numbers; TYPExN:{a,b} is a vector of CUDA, such as f32x4 for float4
    -arg 'struct:{ARG,ARG}'
                        a structure of such arguments, with C's alignment; struct16: aligns it to 16
                        bytes, pad:N is a gap
    -arg value:FILE.npy the elements of the file themselves
    -buffer NAME=BUFFER a buffer (in:, out:, inout:, alloc:) that -arg NAME or -arg NAME+BYTES points to, as often
                        as needed
    -const NAME=FILE.npy
                        sets a __constant__ or __device__ variable
    -launch FILE.json   takes kernel, buffers, launches and arguments from a file (see the README)
Types are f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool c64 c128, NumPy's names and words (<f4), and for buffers
records such as {x=f32,n=i32}. One file is one buffer, even where several arguments name it.

What to do:
    --sanitize          check accesses, initialisation, races and barriers, and report
    --expect FILE.npy   compare the buffer that is written with the file; BUFFER=FILE.npy where there are several
    --rtol R --atol A   how far its elements may be from those of the file: |got - want| <= A + R |want| (default 0)
    --limit N           end a launch after N warp instructions (default 2^32), or after a time such as 10s
    --counters          print counts of instructions, memory traffic and more
    --float MODE        exact (default): correctly rounded; pessimistic: approximate instructions are off by what their
                        documentation allows; contract: mul and add are fused where ptxas may fuse them
    --seed N            run blocks and warps in another order
    --warps ORDER       how the warps of a block take turns: in-step, one instruction of each; random, a few
                        instructions of one drawn by chance; or a number, the random order of that seed. If not
                        said, each runs until it waits
    --strict-volatile   volatile accesses are ordinary ones for --sanitize: they order nothing, and race
    --strict-order      a float sum of atomics that depends on their order counts as a report. If not said it is a note
    --card NAME         whose limits hold; A100 if not said. With --counters also an estimate of the time on that card
    --resources FILE    what ptxas -v prints, for the registers and shared memory of that estimate
    --json              print one object with "reports" and "counters", and "estimate" and "mismatches" where there are
                        any; several launches are a list "launches". What kernels print goes to standard error then

ptxrun explain KIND     what a kind of report means, and the usual repair

Exit status: 0; 1 when there are reports (notes are none) or results that are not those expected; 2 for malformed or
unsupported PTX, for wrong usage and for files that cannot be read or written; 130 and 143 when SIGINT or SIGTERM ended
it. A run that cannot be finished (status 1: a trap, the limit, threads that all wait for each other, an illegal address
without --sanitize), status 2 and signals leave all files as they were; a signal while results are being written leaves
each file as it was, or new as a whole.
`
