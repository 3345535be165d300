// Package alloctest holds readers to a memory in proportion to their input, for fuzz targets.
package alloctest

import (
	"bytes"
	"runtime"
	"testing"
)

// Unpacked is how many bytes a packed byte may stand for, see Factor: deflate's most is 1032, bzip2's with blocks of
// 900,000 bytes is larger, but files that a fuzzer writes are of one block.
const Unpacked = 1032

// Factor is Unpacked for an input that begins as gzip, bzip2 or zip files do, else 1.
func Factor(input []byte) int {
	for _, magic := range []string{"\x1f\x8b", "BZh", "PK"} {
		if bytes.HasPrefix(input, []byte(magic)) {
			return Unpacked
		}
	}
	return 1
}

// Bounded runs a reader and fails where all that it has allocated, freed memory included, is more than base bytes and
// perByte bytes for each of the n bytes of its input.
func Bounded(t *testing.T, n, perByte, base int, read func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if took, most := after.TotalAlloc-before.TotalAlloc, uint64(base)+uint64(perByte)*uint64(n); took > most {
		t.Fatalf("%d bytes of input allocated %d bytes; at most %d + %d·%d", n, took, base, perByte, n)
	}
}
