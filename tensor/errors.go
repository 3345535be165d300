package tensor

import (
	"fmt"
	"runtime"
	"strings"
)

// BuildError is the panic value of a wrong call while building a graph: the operation, what is wrong with it, and
// the line outside this package that asked for it.
type BuildError struct {
	Op     string
	Detail string
	File   string
	Line   int
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("tensor: %s: %s (%s:%d)", e.Op, e.Detail, e.File, e.Line)
}

// fail panics with a BuildError that blames the nearest caller outside this package.
func fail(op, format string, args ...any) {
	e := &BuildError{Op: op, Detail: fmt.Sprintf(format, args...), File: "unknown"}
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "bilevel/tensor.") || strings.HasSuffix(f.File, "_test.go") {
			e.File, e.Line = f.File, f.Line
			break
		}
		if !more {
			break
		}
	}
	panic(e)
}

// Catch runs build and returns the *BuildError it panics with, if any; other panics go on.
func Catch(build func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*BuildError)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	build()
	return nil
}
