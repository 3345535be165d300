package cpu

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cpuTime is the time that all threads of this process have spent on processors: other processes do not add to it.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A pool without work leaves the processors alone: less than a tenth of one core, where helpers that span would take
// three, or as many as there are.
func TestIdlePoolSpinsNot(t *testing.T) {
	const idle = 200 * time.Millisecond
	p := newPool(t, 4)
	c := newCounter(100)
	p.Lock()
	p.Run(100, c)
	p.Unlock()
	c.check(t, 1)
	runtime.GC() // not while the clock runs, for what other tests left
	time.Sleep(50 * time.Millisecond)
	before, begin := cpuTime(t), time.Now()
	time.Sleep(idle)
	used, passed := cpuTime(t)-before, time.Since(begin)
	t.Logf("%v of processor time in %v", used, passed)
	require.Less(t, used, passed/10)
}
