package host

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"syscall"

	"bilevel/device"
)

// memoryBytes is the memory of the machine, swap included, and what of it programs can still take.
func memoryBytes() (total, free int64) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return device.UnknownMemory, device.UnknownMemory
	}
	unit := int64(info.Unit)
	total = (int64(info.Totalram) + int64(info.Totalswap)) * unit
	free = (int64(info.Freeram) + int64(info.Bufferram) + int64(info.Freeswap)) * unit
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, ok := available(text); ok {
			free = kib<<10 + int64(info.Freeswap)*unit
		}
	}
	return total, min(free, total)
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
