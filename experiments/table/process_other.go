//go:build !linux

package table

import (
	"errors"
	"os"
	"syscall"
)

// host names what processes can see each other on.
func host() string {
	name, _ := os.Hostname()
	return name
}

// started would tell a process from a later one of the same number. Without it a cell whose dead owner's number was
// given to another process stays taken until that one ends, which is the safe side.
func started(int) string { return "" }

// alive tells whether there is a process of this number.
func alive(pid int, _ string) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// peakMemory would be the most that this process has held; nobody tells.
func peakMemory() int64 { return 0 }
