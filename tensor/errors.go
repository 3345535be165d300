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

// nilNode is the BuildError of a nil node that was handed to an operation, where that is what a recovered value comes
// from: a nil pointer that was followed in this package. It gives other values back as they are.
func nilNode(recovered any) any {
	err, ok := recovered.(runtime.Error)
	if !ok || !strings.Contains(err.Error(), "nil pointer") {
		return recovered
	}
	e := &BuildError{Package: "tensor", Detail: "a node is nil", File: "unknown"}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicked := false // the frames above it are those of the recovery
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		in := packageOf(f.Function)
		switch {
		case in == "runtime":
			panicked = true
		case !panicked:
		case in == "bilevel/tensor" && !strings.HasSuffix(f.File, "_test.go"):
			e.Op = f.Function[strings.LastIndex(f.Function, ".")+1:]
		case e.Op == "":
			return recovered // of the caller's own
		default:
			e.File, e.Line = f.File, f.Line
			return e
		}
	}
	return e
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
