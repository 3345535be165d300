package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counter counts how often each item was done, and by whom.
type counter struct {
	done    []atomic.Int32
	workers [64]atomic.Int32
	pause   time.Duration
}

func newCounter(items int) *counter { return &counter{done: make([]atomic.Int32, items)} }

func (c *counter) Do(w *Worker, item int) {
	c.done[item].Add(1)
	c.workers[w.Index].Add(1)
	if c.pause > 0 {
		time.Sleep(c.pause)
	}
}

func (c *counter) check(t *testing.T, times int) {
	t.Helper()
	for i := range c.done {
		require.EqualValues(t, times, c.done[i].Load(), "item %d", i)
	}
}

func TestPoolDoesEveryItemOnce(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 7} {
		p := newPool(t, threads)
		require.Equal(t, max(threads, 1), p.Threads())
		for _, items := range []int{0, 1, 2, 3, 8, 1000} {
			c := newCounter(items)
			const times = 50
			for range times {
				p.Lock()
				p.Run(items, c)
				p.Unlock()
			}
			c.check(t, times)
		}
	}
}

// Slow items: every helper comes and takes part, whether it spun or slept before.
func TestPoolHelpersTakePart(t *testing.T) {
	p := newPool(t, 7)
	for _, idle := range []time.Duration{0, 5 * time.Millisecond} {
		c := newCounter(28)
		c.pause = 5 * time.Millisecond
		all := func() bool {
			for i := range 7 {
				if c.workers[i].Load() == 0 {
					return false
				}
			}
			return true
		}
		rounds := 0
		for ; rounds < 50 && !all(); rounds++ { // one, unless the machine is very busy
			time.Sleep(idle)
			p.Lock()
			p.Run(28, c)
			p.Unlock()
		}
		c.check(t, rounds)
		require.True(t, all())
	}
}

// The caller may have to sleep for the last helper: items of very different length.
func TestPoolWaitsForTheLastHelper(t *testing.T) {
	p := newPool(t, 3)
	for range 20 {
		c := newCounter(3)
		c.pause = 500 * time.Microsecond
		p.Lock()
		p.Run(3, c)
		p.Unlock()
		c.check(t, 1)
	}
}

func TestPoolHelpersPark(t *testing.T) {
	p := newPool(t, 4)
	c := newCounter(100)
	p.Lock()
	p.Run(100, c)
	p.Unlock()
	require.Eventually(t, func() bool {
		for _, w := range p.workers[1:] {
			if !w.parked.Load() {
				return false
			}
		}
		return true
	}, 5*time.Second, time.Millisecond)
}

func TestPoolQueuesConcurrentRuns(t *testing.T) {
	p := newPool(t, 3)
	var wg sync.WaitGroup
	var inside atomic.Int32
	for range 5 {
		wg.Go(func() {
			c := newCounter(20)
			for range 20 {
				p.Lock()
				if inside.Add(1) != 1 {
					t.Error("two runs at a time")
				}
				p.Run(20, c)
				inside.Add(-1)
				p.Unlock()
			}
			c.check(t, 20)
		})
	}
	wg.Wait()
}

func TestPoolCloseEndsTheHelpers(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		p := NewPool(5, Detected())
		c := newCounter(10)
		p.Lock()
		p.Run(10, c)
		p.Unlock()
		p.Close()
		p.Close()
	}
	for range 1000 { // Close has waited for them, but their very last steps may be yet to come
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestPoolAllocatesNothing(t *testing.T) {
	p := newPool(t, 2)
	c := newCounter(4)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		p.Lock()
		p.Run(4, c)
		p.Unlock()
	}))
}
