package table

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func mustAcquire(t *testing.T, dir string, me owner) *lock {
	t.Helper()
	l, by, err := acquire(dir, me, func() {})
	require.NoError(t, err)
	require.NotNil(t, l, "held by %v", by)
	return l
}

func requireHeld(t *testing.T, dir string, me owner) *owner {
	t.Helper()
	l, by, err := acquire(dir, me, func() {})
	require.NoError(t, err)
	require.Nil(t, l)
	return by
}

// place writes a lock as another process would have.
func place(t *testing.T, dir string, n int, o owner) {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(lockPath(dir, n), text, 0o600))
}

func TestLock(t *testing.T) {
	dir, me := t.TempDir(), self()
	l := mustAcquire(t, dir, me)
	require.Equal(t, me.PID, requireHeld(t, dir, me).PID)
	require.NoError(t, l.release(false))
	second := mustAcquire(t, dir, me)
	require.Equal(t, 2, second.n, "locks of an unfinished cell stay")
	require.NoError(t, second.release(true))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A cell of a process that is dead, and not taken note of by its parent either, may be taken; so may that of an earlier
// process whose number was given to another one; that of a living process never.
func TestLockOfTheDead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("when a process began is known on Linux alone")
	}
	other := exec.Command("sleep", "100")
	require.NoError(t, other.Start())
	dir, me := t.TempDir(), self()
	place(t, dir, 1, owner{Host: me.Host, PID: other.Process.Pid, Started: started(other.Process.Pid)})
	require.NoError(t, os.Chtimes(lockPath(dir, 1), time.Time{}, time.Now().Add(-time.Hour)))
	requireHeld(t, dir, me)
	require.NoError(t, other.Process.Kill())
	require.Eventually(t, func() bool {
		return !alive(other.Process.Pid, started(other.Process.Pid))
	}, 10*time.Second, time.Millisecond)
	l := mustAcquire(t, dir, me) // it is a zombie still
	other.Wait()
	require.NoError(t, l.release(false))

	place(t, dir, 3, owner{Host: me.Host, PID: me.PID, Started: "earlier"})
	l = mustAcquire(t, dir, me)
	require.NoError(t, l.release(true))
}

// What another host holds may be taken when its file has not moved for a long time.
func TestLockOfAnotherHost(t *testing.T) {
	dir, me := t.TempDir(), self()
	for _, text := range []string{`{"host": "elsewhere b c", "pid": 1, "started": "1"}`, "", "nonsense"} {
		require.NoError(t, os.WriteFile(lockPath(dir, 1), []byte(text), 0o600))
		require.NotNil(t, requireHeld(t, dir, me))
		require.NoError(t, os.Chtimes(lockPath(dir, 1), time.Time{}, time.Now().Add(-staleAfter+10*time.Second)))
		requireHeld(t, dir, me)
		require.NoError(t, os.Chtimes(lockPath(dir, 1), time.Time{}, time.Now().Add(-staleAfter-10*time.Second)))
		require.NoError(t, mustAcquire(t, dir, me).release(true))
	}
}

// The owner writes its file, and learns of it where another one has taken the cell.
func TestBeat(t *testing.T) {
	dir, me := t.TempDir(), self()
	lost := make(chan struct{})
	l, _, err := acquireEvery(dir, me, time.Millisecond, func() { close(lost) })
	require.NoError(t, err)
	before, err := os.ReadFile(l.path())
	require.NoError(t, err)
	long := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(l.path(), time.Time{}, long))
	require.Eventually(t, func() bool {
		info, err := os.Stat(l.path())
		return err == nil && time.Since(info.ModTime()) < time.Minute
	}, 10*time.Second, time.Millisecond)
	after, err := os.ReadFile(l.path())
	require.NoError(t, err)
	require.Equal(t, before, after)
	select {
	case <-lost:
		require.Fail(t, "nobody has taken it")
	default:
	}
	place(t, dir, 2, owner{Host: "elsewhere"})
	<-lost
}

// Of many that want a cell, of nobody or of a dead process, one gets it.
func TestLockRace(t *testing.T) {
	me := self()
	for round := range 20 {
		dir := t.TempDir()
		if round%2 == 1 {
			place(t, dir, 1, owner{Host: me.Host, PID: me.PID, Started: "earlier"})
		}
		var wg sync.WaitGroup
		var got atomic.Int32
		for range 16 {
			wg.Go(func() {
				for range 20 {
					if l, _, err := acquire(dir, me, func() {}); err == nil && l != nil {
						got.Add(1)
					}
				}
			})
		}
		wg.Wait()
		want := int32(1)
		if runtime.GOOS != "linux" && round%2 == 1 {
			want = 0
		}
		require.Equal(t, want, got.Load())
	}
}
