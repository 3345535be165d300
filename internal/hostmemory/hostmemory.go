// Package hostmemory asks the operating system for the memory of the machine.
package hostmemory

import "math"

// Unknown stands for the memory of a machine that does not tell: 1 TiB, or what an int can count.
const Unknown = min(1<<40, math.MaxInt)
