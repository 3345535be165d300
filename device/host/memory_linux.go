package host

import "syscall"

// memoryBytes is the memory of the machine, swap included.
func memoryBytes() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return unknownMemory
	}
	return (int64(info.Totalram) + int64(info.Totalswap)) * int64(info.Unit)
}
