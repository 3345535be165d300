package lockfile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".set.lock")
	release, err := Take(path)
	require.NoError(t, err)
	_, err = Take(path)
	var held *Held
	require.ErrorAs(t, err, &held)
	require.Equal(t, fmt.Sprintf("process %d", os.Getpid()), held.Holder)
	require.NoError(t, release())
	require.NoFileExists(t, path)
	release, err = Take(path)
	require.NoError(t, err)
	require.NoError(t, release())
}

// Many that take and let go at once: never two of them have it.
func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside sync.Mutex // held exactly while the lock is
	var group sync.WaitGroup
	got := make([]int, 8)
	for i := range got {
		group.Go(func() {
			for range 200 {
				release, err := Take(path)
				if held := (*Held)(nil); errors.As(err, &held) {
					continue
				}
				if err != nil || !inside.TryLock() {
					t.Errorf("two hold the lock, or none can: %v", err)
					return
				}
				got[i]++
				inside.Unlock()
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	total := 0
	for _, n := range got {
		total += n
	}
	require.Positive(t, total)
}

// A process that is killed holds nothing any more.
func TestKilled(t *testing.T) {
	const child = "LOCKFILE_TEST_CHILD"
	if path := os.Getenv(child); path != "" {
		if _, err := Take(path); err != nil {
			t.Fatal(err)
		}
		fmt.Println("taken")
		select {}
	}
	path := filepath.Join(t.TempDir(), "lock")
	c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	c.Env = append(os.Environ(), child+"="+path)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "taken\n", line)
	_, err = Take(path)
	var held *Held
	require.ErrorAs(t, err, &held)
	require.Equal(t, fmt.Sprintf("process %d", c.Process.Pid), held.Holder)
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	release, err := Take(path)
	require.NoError(t, err)
	require.NoError(t, release())
}
