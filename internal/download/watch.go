package download

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

var errStalled = errors.New("nothing came for a while")

// watch cancels a request whose server is silent for too long. It looks only between start and stop: how long our own
// disk takes says nothing about the server.
type watch struct {
	after  time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newWatch(parent context.Context, after time.Duration) (context.Context, *watch) {
	if after == 0 {
		after = 30 * time.Second
	}
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{after: after, ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(after, func() { cancel(errStalled) })
	w.stop()
	return ctx, w
}

func (w *watch) start() { w.timer.Reset(w.after) }
func (w *watch) stop()  { w.timer.Stop() }

// end releases what the request holds.
func (w *watch) end() {
	w.stop()
	w.cancel(nil)
}

// explain says that it was the watch that ended a request, where it was.
func (w *watch) explain(err *mirrorError) error {
	if context.Cause(w.ctx) == errStalled {
		return &mirrorError{err: fmt.Errorf("nothing came for %v", w.after), again: true}
	}
	var text *url.Error
	if errors.As(err.err, &text) {
		err.err = text.Err // without the address, which is long and said already
	}
	return err
}
