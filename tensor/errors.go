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
func fail(op, format string, args ...any) { blame("bilevel/tensor.", op, fmt.Sprintf(format, args...)) }

// Fail panics with a BuildError, for packages above this one that build graphs: what was being built, and what is wrong
// with it. It blames the nearest caller outside the package that calls Fail.
func Fail(op, format string, args ...any) {
	var pc [1]uintptr
	runtime.Callers(2, pc[:])
	f, _ := runtime.CallersFrames(pc[:]).Next()
	slash := strings.LastIndexByte(f.Function, '/') + 1
	pkg, _, _ := strings.Cut(f.Function[slash:], ".")
	blame(f.Function[:slash]+pkg+".", op, fmt.Sprintf(format, args...))
}

func blame(pkg, op, detail string) {
	e := &BuildError{Op: op, Detail: detail, File: "unknown"}
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, pkg) || strings.HasSuffix(f.File, "_test.go") {
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
