package data

import (
	"fmt"
	"io/fs"
	"strings"
)

// UsageError is a name or value that can never work, whatever is on the machine.
type UsageError struct{ msg string }

func (e *UsageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// NotFoundError is a known data set that is not on this machine. It wraps fs.ErrNotExist.
type NotFoundError struct {
	Name   string   // of the data set
	Looked []string // the folders that would hold it
	Unset  bool     // $BILEVEL_DATA is not set
}

func (e *NotFoundError) Error() string {
	looked := strings.Join(e.Looked, " and ")
	if looked == "" {
		looked = "no folder, for there is no user cache"
	}
	if e.Unset {
		looked += "; $BILEVEL_DATA is not set"
	}
	return fmt.Sprintf("the data set %s is not on this machine (looked in %s); get it with: bilevel data get %s",
		e.Name, looked, e.Name)
}

// Unwrap returns fs.ErrNotExist.
func (e *NotFoundError) Unwrap() error { return fs.ErrNotExist }
