package tensor

import (
	"fmt"
	"path"
	"runtime"
	"strings"
)

// BuildError is the panic value of a wrong call while building a graph: the operation, what is wrong with it, and
// the line outside the package of that operation that asked for it.
type BuildError struct {
	Package string // of the operation: tensor, or what calls Fail
	Op      string
	Detail  string
	File    string
	Line    int
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("%s: %s: %s (%s:%d)", e.Package, e.Op, e.Detail, e.File, e.Line)
}

// fail panics with a BuildError that blames the nearest caller outside this package.
func fail(op, format string, args ...any) { blame(op, fmt.Sprintf(format, args...)) }

// Fail is for packages that compose nodes, such as models: it panics with a BuildError, which Compile returns as an
// error. The error blames the nearest caller outside the package that calls Fail.
func Fail(op, format string, args ...any) { blame(op, fmt.Sprintf(format, args...)) }

// blame panics with a BuildError. The package that failed is that of the caller's caller; the line is the nearest one
// outside both that package and this one. Test files count as outside.
func blame(op, detail string) {
	e := &BuildError{Op: op, Detail: detail, File: "unknown"}
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	inside := ""
	for {
		f, more := frames.Next()
		in := packageOf(f.Function)
		if inside == "" {
			inside, e.Package = in, path.Base(in)
		}
		if in != inside && in != "bilevel/tensor" || strings.HasSuffix(f.File, "_test.go") {
			e.File, e.Line = f.File, f.Line
			break
		}
		if !more {
			break
		}
	}
	panic(e)
}

// packageOf is the import path in the name of a function, such as bilevel/tensor in bilevel/tensor.(*Node).Add.
func packageOf(function string) string {
	slash := strings.LastIndex(function, "/") + 1
	name, _, _ := strings.Cut(function[slash:], ".")
	return function[:slash] + name
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
