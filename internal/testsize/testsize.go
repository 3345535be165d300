// Package testsize chooses how much tests do.
package testsize

import "os"

// Of is the usual one of two sizes, and the other where BILEVEL_LONG is set: for tests that prove as much in seconds as
// anyone waits for, and can try more.
func Of[T any](usual, long T) T {
	if os.Getenv("BILEVEL_LONG") != "" {
		return long
	}
	return usual
}
