package main

import (
	"fmt"
	"io"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/ptx"
)

// An explanation is what a kind of report means and how it is usually repaired.
type explanation struct {
	kind   ptx.Kind
	means  string
	repair string
}

// explain is the command `ptxrun explain KIND`.
func explain(args []string, stdout, stderr io.Writer) int {
	var kinds []string
	for _, e := range explanations {
		kinds = append(kinds, string(e.kind))
	}
	if len(args) != 1 {
		fmt.Fprintf(stderr, "ptxrun: explain takes one kind of report: %s\n", strings.Join(kinds, ", "))
		return exitRefused
	}
	for _, e := range explanations {
		if string(e.kind) == args[0] {
			fmt.Fprintf(stdout, "%s\n\nWhat it means: %s\n\nThe usual repair: %s\n", e.kind, e.means, e.repair)
			return exitClean
		}
	}
	fmt.Fprintf(stderr, "ptxrun: there is no kind of report %q%s (there are %s)\n", args[0],
		nearest.Hint(args[0], kinds), strings.Join(kinds, ", "))
	return exitRefused
}

// explanations has an entry for each kind of package ptx.
var explanations = []explanation{
	{ptx.OutOfBounds,
		"a thread touches memory outside of every buffer, or outside of the kernel's shared or local memory.",
		"compare the index with the number of elements before the access (if (i < n)), and the launch's grid with " +
			"the buffer's size."},
	{ptx.UseAfterFree, "a thread touches memory that the host has freed.",
		"free a buffer only after the last kernel that uses it."},
	{ptx.Misaligned, "an address is not a multiple of the size of the access, which hardware refuses.",
		"keep the elements of vector loads (float4) at multiples of their size, and do not cast pointers to wider " +
			"types at odd offsets."},
	{ptx.UninitializedRead, "a value is used that nobody has written: a variable without a value, or memory that " +
		"neither the host nor a kernel has filled.",
		"give the variable a value on every path, clear the buffer (cudaMemset) or start it with in: or out: " +
			"instead of alloc:, and put a barrier between the write and the read in shared memory."},
	{ptx.SharedRace,
		"two threads of a block touch the same shared memory, at least one writes, and nothing orders them.",
		"put __syncthreads() between them, or __syncwarp() where both are in one warp; before the next round " +
			"of a loop too."},
	{ptx.GlobalRace, "two threads touch the same global memory, at least one writes, and nothing orders them.",
		"let one thread own each element, use atomics, or split the kernel in two launches; a flag needs release and " +
			"acquire (or fences) on both sides."},
	{ptx.DivergentBarrier, "some threads of a block wait at a barrier that others never reach.",
		"move __syncthreads() out of the branch, and let threads without work take part in it instead of " +
			"returning early."},
	{ptx.SplitBarrier, "whole warps of a block wait at different barrier instructions of the same number. Hardware " +
		"counts them together, " +
		"so the kernel goes on, but CUDA promises nothing for a barrier that not all threads reach in the same place.",
		"put one __syncthreads() behind the branches in place of one in each."},
	{ptx.InactiveLaneShuffle,
		"a shuffle reads the value of a lane that does not take part in it; the result is undefined.",
		"let all lanes named in the mask execute the shuffle, and keep the source lane within the mask."},
	{ptx.MismatchedMask, "lanes execute the same .sync instruction with masks that contradict each other.",
		"compute the mask once, before the lanes diverge (__ballot_sync), and pass the same mask in all of them; " +
			"__activemask() is no mask for this."},
	{ptx.MissingAsyncWait,
		"shared memory is read or written before the asynchronous copy into it is known to have ended.",
		"wait (cp.async.wait_group, or the pipeline's or barrier's wait) and then synchronise the block before " +
			"using the data."},
	{ptx.OrderDependentAtomic, "atomic additions of floating-point numbers arrive in an order that no run repeats, " +
		"and another order gives other bits.",
		"if results must repeat, reduce in a fixed order (a tree, or one block for each element); else accept it " +
			"within a tolerance."},
	{ptx.Timeout, "the kernel executed more than --limit allows.",
		"look for a loop whose condition never changes; raise --limit if the kernel is only long."},
	{ptx.NoProgress, "all threads that are left repeat themselves and none can change what the others wait for: a " +
		"lock that nobody releases, or a flag that nobody sets.",
		"release the lock on every path, let the thread that holds it leave the loop before the others spin, and " +
			"do not wait for a block that may not have started."},
	{ptx.StackOverflow, "functions call each other deeper than a thread's stack allows.",
		"check the condition that ends the recursion, or turn it into a loop."},
	{ptx.Trap, "the kernel ended itself: a trap instruction, a failed assert(), or __trap().",
		"the message has the expression of an assertion and its line; a barrier of the whole grid traps without a " +
			"cooperative launch."},
}
