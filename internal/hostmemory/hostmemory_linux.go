package hostmemory

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// Total is the memory of the machine, swap included. Unlike Bytes it reads no file.
func Total() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return Unknown
	}
	return totalOf(&info)
}

func totalOf(info *syscall.Sysinfo_t) int64 {
	return (int64(info.Totalram) + int64(info.Totalswap)) * int64(info.Unit)
}

// Bytes is the memory of the machine, swap included, and what of it programs can still take.
func Bytes() (total, free int64) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return Unknown, Unknown
	}
	unit := int64(info.Unit)
	total = totalOf(&info)
	free = (int64(info.Freeram) + int64(info.Bufferram) + int64(info.Freeswap)) * unit
	if bytes, ok := Available(); ok {
		free = bytes + int64(info.Freeswap)*unit
	}
	return total, min(free, total)
}

// Available is the memory that programs can take without swapping; ok is false where the system does not say.
func Available() (bytes int64, ok bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	kib, ok := available(text)
	if !ok {
		return 0, false
	}
	return kib << 10, true
}

// available finds the line "MemAvailable: N kB" of /proc/meminfo: free memory and caches that can be dropped.
func available(meminfo []byte) (kib int64, ok bool) {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) >= 2 && string(fields[0]) == "MemAvailable:" {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib, err == nil && kib >= 0 && kib < 1<<50
		}
	}
	return 0, false
}
