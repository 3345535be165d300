package table

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// host names what processes can see each other on: the machine since it was started, and the process namespace. Where
// two processes disagree in any of it, neither can tell whether the other lives.
func host() string {
	name, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, _ := os.Readlink("/proc/self/ns/pid")
	return fmt.Sprintf("%s %s %s", name, strings.TrimSpace(string(boot)), space)
}

// state is a process's state and the time at which it began, in ticks since the machine was started; "" where there is
// no such process.
func state(pid int) (state, start string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	rest := string(text)[strings.LastIndexByte(string(text), ')')+1:] // the name before it may have blanks
	const stateField, startField = 0, 19                              // proc(5) counts them 3 and 22
	fields := strings.Fields(rest)
	if len(fields) <= startField {
		return "", ""
	}
	return fields[stateField], fields[startField]
}

func started(pid int) string {
	_, start := state(pid)
	return start
}

// alive tells whether the process of this number that began then still runs. One that was killed and whose parent has
// not taken note is dead.
func alive(pid int, start string) bool {
	s, now := state(pid)
	return s != "" && s != "Z" && s != "X" && now == start
}

// peakMemory is the most that this process has held, in bytes; 0 where nobody knows.
func peakMemory() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}
