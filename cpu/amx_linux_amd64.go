//go:build !purego

package cpu

import (
	"sync"

	"golang.org/x/sys/unix"
)

// mayUseTiles asks Linux to let the threads of this process use tile registers: 8 KiB of state that it saves only for
// those that ask. It refuses where a thread's stack for signals is too small for them.
var mayUseTiles = sync.OnceValue(func() bool {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	_, _, err := unix.Syscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return err == 0
})
