//go:build slowrename

package atomicfile

import (
	"fmt"
	"os"
	"time"
)

// pause is for scripts/kill-and-resume: it gives time to kill a process between the writing of a file and its rename,
// and writes down when that time begins and ends. BILEVEL_RENAME_LOG names the file that it adds to,
// BILEVEL_RENAME_PAUSE is how long it waits.
func pause(path string) {
	d, err := time.ParseDuration(os.Getenv("BILEVEL_RENAME_PAUSE"))
	log, cannot := os.OpenFile(os.Getenv("BILEVEL_RENAME_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil || cannot != nil {
		return
	}
	defer log.Close()
	fmt.Fprintf(log, "begin %d %s\n", os.Getpid(), path)
	time.Sleep(d)
	fmt.Fprintf(log, "end %d %s\n", os.Getpid(), path)
}
