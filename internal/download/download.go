// Package download fetches files over HTTP: from several mirrors, with resumption of what a broken connection left,
// checked by sums, and in place whole or not at all.
package download

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"bilevel/internal/atomicfile"
)

// File is what is to be fetched.
type File struct {
	URLs   []string // the same bytes from several places, tried in this order
	Size   int64    // 0 where it is not known
	SHA256 string   // in hexadecimal; "" where none is published
	MD5    string   // likewise; both are checked where both are given
	Begins string   // the first bytes of every such file, so that a page that says sorry is not taken for it
}

// Client says how patient to be. The zero Client uses http.DefaultClient.
type Client struct {
	HTTP     *http.Client
	Stall    time.Duration // a connection that gives no byte for so long is given up; 0 means 30 s
	Tries    int           // of each mirror; 0 means 4
	Wait     time.Duration // before the second try, doubled each time; 0 means 1 s
	Most     int64         // bytes of a file whose size is not known; 0 means 4 GiB
	Progress func(done, total int64)
}

// Result is a file that was fetched.
type Result struct {
	URL    string // the mirror that gave its end, or "" where the file was there
	Bytes  int64
	SHA256 string
}

// mirrorError is a failure for which the next mirror may be better; again says that the same one may be, too.
type mirrorError struct {
	err   error
	again bool
	after time.Duration // what the server asked to wait
}

func (e *mirrorError) Error() string { return e.err.Error() }
func (e *mirrorError) Unwrap() error { return e.err }

// Get fetches f to path. The bytes go to path.part, which stays there when Get fails or is cancelled, so that the next
// call goes on where this one ended; what was begun at one mirror is continued at another only where a sum tells that
// the bytes are the same. The file is synced and renamed to path after its sums were checked.
func (c *Client) Get(ctx context.Context, f File, path string) (Result, error) {
	p := &partial{path: path + ".part"}
	var failures []string
	for _, mirror := range f.URLs {
		host := mirror
		if u, err := url.Parse(mirror); err == nil {
			host = u.Host
		}
		for try := range c.tries() {
			err := c.fetch(ctx, f, mirror, p)
			if err == nil {
				var r Result
				if r, err = c.finish(f, mirror, p, path); err == nil {
					return r, nil
				}
			}
			var failed *mirrorError
			if ctx.Err() != nil {
				return Result{},
					fmt.Errorf("stopped; what was fetched stays in %s, and the same command goes on from there: %w",
						p.path, ctx.Err())
			}
			if !errors.As(err, &failed) {
				return Result{}, err
			}
			if last := !failed.again || try == c.tries()-1; last {
				failures = append(failures, fmt.Sprintf("%s: %v", host, failed))
				break
			}
			if err := c.sleep(ctx, try, failed.after); err != nil {
				return Result{}, fmt.Errorf("stopped: %w", err)
			}
		}
	}
	return Result{}, &Error{Path: path, Failures: failures}
}

// Error says that no mirror gave a file.
type Error struct {
	Path     string
	Failures []string // one for each mirror
}

func (e *Error) Error() string {
	return fmt.Sprintf("no mirror gave the file (%s)", strings.Join(e.Failures, "; "))
}

func (c *Client) tries() int {
	if c.Tries > 0 {
		return c.Tries
	}
	return 4
}

func (c *Client) sleep(ctx context.Context, try int, asked time.Duration) error {
	wait := c.Wait
	if wait == 0 {
		wait = time.Second
	}
	timer := time.NewTimer(max(wait<<try, min(asked, 30*time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch makes one request for the bytes that are missing and appends what comes.
func (c *Client) fetch(ctx context.Context, f File, mirror string, p *partial) error {
	have, from := p.begin()
	p.resumed = have > 0
	sure := f.SHA256 != "" || f.MD5 != "" // the end will tell whether the pieces belong together
	if have > 0 && !sure && (from.URL != mirror || from.ETag == "" && from.Modified == "") {
		have = 0
	}
	if f.Size > 0 && have == f.Size && sure {
		return nil
	}
	ctx, watch := newWatch(ctx, c.Stall)
	defer watch.end()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, mirror, nil)
	if err != nil {
		return &mirrorError{err: err}
	}
	request.Header.Set("Accept-Encoding", "identity") // the bytes as they are, which is what sums and ranges speak of
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if from.URL == mirror && from.ETag != "" && !strings.HasPrefix(from.ETag, "W/") {
			request.Header.Set("If-Range", from.ETag)
		} else if from.URL == mirror && from.Modified != "" {
			request.Header.Set("If-Range", from.Modified)
		}
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	watch.start()
	response, err := client.Do(request)
	watch.stop()
	if err != nil {
		return watch.explain(&mirrorError{err: err, again: true})
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusRequestedRangeNotSatisfiable &&
		response.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", have) {
		return nil // all of it was there
	}
	if have, err = accept(response, have, p); err != nil {
		return err
	}
	p.resumed = have > 0
	total := f.Size
	if total == 0 && response.ContentLength >= 0 {
		total = have + response.ContentLength
	}
	note, err := json.Marshal(origin{mirror, response.Header.Get("ETag"), response.Header.Get("Last-Modified")})
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(p.note(), note); err != nil { // a full disk leaves the old note
		return kept(err)
	}
	return c.receive(response.Body, f, p, have, total, watch)
}

// accept judges an answer. It returns how many of the bytes that are there the body continues: 0 where it begins anew.
func accept(r *http.Response, have int64, p *partial) (int64, error) {
	status := errors.New("it answers " + r.Status)
	switch {
	case r.StatusCode == http.StatusOK:
		return 0, nil
	case r.StatusCode == http.StatusPartialContent && have > 0:
		if first, _, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "-"); ok &&
			first == strconv.FormatInt(have, 10) {
			return have, nil
		}
		return 0, anew(p, errors.New("it answers with another piece of the file than was asked for"))
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		// the partial file is longer than the file
		return 0, anew(p, status)
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		seconds, _ := strconv.Atoi(r.Header.Get("Retry-After"))
		return 0, &mirrorError{status, true, time.Duration(seconds) * time.Second}
	}
	return 0, &mirrorError{err: status}
}

// receive writes the body behind the first have bytes of the partial file.
func (c *Client) receive(body io.Reader, f File, p *partial, have, total int64, watch *watch) (err error) {
	out, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(have); err != nil {
		return err
	}
	if _, err := out.Seek(have, io.SeekStart); err != nil {
		return err
	}
	most := c.Most
	if most == 0 {
		most = 4 << 30
	}
	if f.Size > 0 {
		most = f.Size
	}
	for buffer := make([]byte, 64<<10); ; {
		watch.start()
		n, err := body.Read(buffer)
		watch.stop()
		if n > 0 {
			if have+int64(n) > most {
				return refuse(p, fmt.Errorf("it sends more than %d bytes", most))
			}
			if begin := buffer[:min(n, len(f.Begins))]; have == 0 && !strings.HasPrefix(f.Begins, string(begin)) {
				return refuse(p, fmt.Errorf("it sends something else: it begins with %.20q", buffer[:min(n, 20)]))
			}
			if _, err := out.Write(buffer[:n]); err != nil {
				return kept(err)
			}
			have += int64(n)
			if c.Progress != nil {
				c.Progress(have, total)
			}
		}
		switch {
		case err == io.EOF && total > 0 && have < total:
			return &mirrorError{err: fmt.Errorf("the connection ended after %d of %d bytes", have, total), again: true}
		case err == io.EOF:
			return nil
		case err != nil:
			return watch.explain(&mirrorError{err: err, again: true})
		}
	}
}

// kept words an error of writing, such as that of a full disk.
func kept(err error) error {
	return fmt.Errorf("%w; what was fetched is kept, and the same command goes on from there", err)
}

// finish checks the sums and puts the file in place.
func (c *Client) finish(f File, mirror string, p *partial, path string) (Result, error) {
	if err := p.sync(); err != nil {
		return Result{}, err
	}
	r, sumMD5, err := sums(p.path)
	if err != nil {
		return Result{}, err
	}
	for _, sum := range []struct{ name, want, got string }{{"SHA-256", f.SHA256, r.SHA256}, {"MD5", f.MD5, sumMD5}} {
		if sum.want != "" && sum.want != sum.got {
			err := fmt.Errorf("its bytes are not those of the file: their %s is %s, not %s", sum.name,
				sum.got, sum.want)
			if p.resumed { // the fault may be in what was there before
				return Result{}, anew(p, err)
			}
			return Result{}, refuse(p, err)
		}
	}
	if err := os.Rename(p.path, path); err != nil {
		return Result{}, err
	}
	if err := removeIfThere(p.note()); err != nil {
		return Result{}, err
	}
	r.URL = mirror
	return r, nil
}

// Matches tells whether the file at path has the sums and size of f, as far as they are known.
func Matches(f File, path string) (Result, bool, error) {
	r, sumMD5, err := sums(path)
	ok := (f.Size == 0 || r.Bytes == f.Size) && (f.SHA256 == "" || f.SHA256 == r.SHA256) &&
		(f.MD5 == "" || f.MD5 == sumMD5)
	return r, ok && err == nil, err
}

// sums reads a file. The Result says its size and SHA-256, the string its MD5.
func sums(path string) (Result, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, "", err
	}
	defer f.Close()
	strong, weak := sha256.New(), md5.New()
	n, err := io.Copy(io.MultiWriter(strong, weak), f)
	return Result{Bytes: n, SHA256: hex.EncodeToString(strong.Sum(nil))}, hex.EncodeToString(weak.Sum(nil)), err
}
