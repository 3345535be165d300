//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// limitsAreErrors lets a write beyond the limit on the size of files (ulimit -f) fail like one on a full disk, instead
// of ending the process.
func limitsAreErrors() { signal.Ignore(syscall.SIGXFSZ) }
