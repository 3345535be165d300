package tensor

import (
	"errors"
	"slices"
)

// Scope owns variables, functions and whatever else lives as long as they do, so that one Close frees them all.
//
// It remembers the first error: after it Compile and Loop do nothing and return nil, so that a caller prepares a list
// of programs in straight lines and looks at Err once.
//
//	sc := ex.Scope()
//	y, g := sc.Variable("y", tensor.Real, n), sc.Variable("g", tensor.Real, n)
//	gradient := sc.Compile("gradient", func() []tensor.Update { … })
//	if err := sc.Err(); err != nil {
//		return errors.Join(err, sc.Close())
//	}
type Scope struct {
	ex      *Executor
	err     error
	closers []func() error // in the order in which things were made
}

// Scope begins an empty scope of this executor.
func (ex *Executor) Scope() *Scope { return &Scope{ex: ex} }

// Executor is the one that the scope belongs to.
func (s *Scope) Executor() *Executor { return s.ex }

// Variable makes a variable that Close frees, see Executor.Variable.
func (s *Scope) Variable(name string, t Type, shape ...int) *Variable {
	v := s.ex.Variable(name, t, shape...)
	s.Own(func() error { v.Free(); return nil })
	return v
}

// Number makes a variable of one Real.
func (s *Scope) Number(name string) *Variable { return s.Variable(name, Real) }

// Compile compiles a function that Close closes, see Executor.Compile; nil after an error.
func (s *Scope) Compile(name string, build func() []Update) *Function {
	if s.err != nil {
		return nil
	}
	f, err := s.ex.Compile(name, build)
	if err != nil {
		s.err = err
		return nil
	}
	s.Own(f.Close)
	return f
}

// Loop compiles a loop that Close closes, see Executor.CompileLoop; nil after an error.
func (s *Scope) Loop(name string, builds ...func() []Update) *Loop {
	if s.err != nil {
		return nil
	}
	l, err := s.ex.CompileLoop(name, builds...)
	if err != nil {
		s.err = err
		return nil
	}
	s.Own(l.Close)
	return l
}

// Own makes Close call closer too: for things that are neither variables nor functions.
func (s *Scope) Own(closer func() error) { s.closers = append(s.closers, closer) }

// Note remembers an error, if it is the first.
func (s *Scope) Note(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Err is the first error.
func (s *Scope) Err() error { return s.err }

// Close frees everything, last made first. Closing again does nothing.
func (s *Scope) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}
