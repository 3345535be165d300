package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bilevel/data/fetch"
	"bilevel/internal/download"

	"github.com/stretchr/testify/require"
)

// shelf answers every request with the file of that name, or 404.
type shelf map[string]string

func (s shelf) RoundTrip(r *http.Request) (*http.Response, error) {
	text, ok := s[path.Base(r.URL.Path)]
	status := http.StatusOK
	if !ok {
		status = http.StatusNotFound
	}
	return &http.Response{Status: http.StatusText(status), StatusCode: status, ContentLength: int64(len(text)),
		Request: r, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// incomes has as many rows as the set adult.
func incomes() shelf {
	rows := func(n int) string { return strings.Repeat("-1 3:1 11:1\n", n-1) + "+1 123:1\n" }
	return shelf{"a9a": rows(32_561), "a9a.t": rows(16_281)}
}

// get runs `bilevel data get` on the files of a shelf.
func get(ctx context.Context, s shelf, root string, quiet bool, names ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, env: func(string) string { return root }}
	sets, err := setsNamed(names)
	if err != nil {
		return "", "", err
	}
	client := download.Client{HTTP: &http.Client{Transport: s}, Wait: time.Millisecond}
	err = a.getSets(ctx, sets, fetch.Options{Root: root, Client: client}, quiet)
	return out.String(), errs.String(), err
}

func TestDataGet(t *testing.T) {
	root := t.TempDir()
	out, said, err := get(context.Background(), incomes(), root, false, "adult")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("adult: %s (UCI, by way of LIBSVM's page)\n", filepath.Join(root, "adult")), out)
	require.Regexp(t,
		`(?m)^a9a: \d+ bytes, SHA-256 [0-9a-f]{64} \(none published: compared with this machine's first download\)$`,
		said)
	out, said, err = get(context.Background(), nil, root, false, "adult")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("adult: %s is there already\n", filepath.Join(root, "adult")), out)
	require.Empty(t, said)
	out, said, err = get(context.Background(), incomes(), t.TempDir(), true, "adult")
	require.NoError(t, err)
	require.Empty(t, out+said)

	r := bilevel("data verify", "BILEVEL_DATA="+root)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^adult: good: the content is that of the first download on 20\d\d-`, r.stdout)
	r = bilevel("data verify adult --sums", "BILEVEL_DATA="+root)
	require.Regexp(t, `(?m)^  [0-9a-f]{64}  a9a.t$`, r.stdout)
	r = bilevel("data list", "BILEVEL_DATA="+root)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^adult .* 32561 \+ 16281 .* `+filepath.Join(root, "adult")+`$`, r.stdout)
	require.Regexp(t, `(?m)^cifar100 .* (bilevel data get cifar100|/.*)$`, r.stdout)

	require.NoError(t, os.WriteFile(filepath.Join(root, "adult", "a9a.t"), []byte("1 1:1\n"), 0o600))
	r = bilevel("data verify adult", "BILEVEL_DATA="+root)
	require.Equal(t, exitEnvironment, r.code)
	require.Contains(t, r.stdout, "bad: ")
	require.Contains(t, r.stdout, "32561 training and 1 test rows, but adult has 32561 and 16281; remove the folder "+
		"and run: bilevel data get adult")
	require.Equal(t, "bilevel: not as published: adult\n", r.stderr)
}

func TestDataGetFails(t *testing.T) {
	root := t.TempDir()
	_, _, err := get(context.Background(), incomes(), root, false, "ijcnn1", "adult", "omniglot")
	require.ErrorContains(t, err, "2 of 3 sets were not got: ijcnn1: ijcnn1.bz2: no mirror gave the file "+
		"(www.csie.ntu.edu.tw: it answers Not Found)")
	require.DirExists(t, filepath.Join(root, "adult"), "one that fails does not keep the others from being tried")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = get(ctx, incomes(), t.TempDir(), false, "adult")
	require.ErrorContains(t, err, "stopped by Ctrl-C or SIGTERM: what was fetched is kept")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err = get(context.Background(), incomes(), file, false, "adult")
	require.ErrorContains(t, err, "set $BILEVEL_DATA to a folder that can be written to")
}

func TestDataUsage(t *testing.T) {
	inNewFolder(t)
	empty := t.TempDir()
	for line, want := range map[string]string{
		"data get": "which data set? bilevel data list lists them; --all gets all of them",
		"data get mnits": `unknown data set "mnits"; did you mean "mnist"? (bilevel data ` +
			`list lists them)`,
		"data get digits":      "digits is embedded in this program",
		"data get mnist --all": "give names or --all, not both",
		"data lst":             `unknown command "lst"; did you mean "list"?`,
		"data list extra":      `bilevel data list takes flags only, not "extra"`,
		"data verify mnits":    `did you mean "mnist"?`,
		"clean --label y":      "--label names a column of a table of your own; digits has its labels",
		"clean --out o --data t.csv": `which column is the label? Say it by --label NAME; the columns ` +
			`are "a", "b"`,
		"clean --data t.csv --label bb": `there is no column "bb"; did you mean "b"? (--label); its columns ` +
			`are "a", "b"`,
		"clean --data ./t.csv --label bb": "t.csv: there is no column",
	} {
		require.NoError(t, os.WriteFile("t.csv", []byte("a,b\n1,2\n"), 0o600))
		refused(t, bilevel(line, "BILEVEL_DATA="+empty), exitUsage, want)
	}
	refused(t, bilevel("data verify mnist", "BILEVEL_DATA="+empty), exitEnvironment, "bilevel data get mnist")
}

// One's own table, from the command line: the classes are named, and so is a row that is far out.
func TestCleanOnesOwnTable(t *testing.T) {
	dir := inNewFolder(t)
	text := "width,height,kind\n"
	for i := range 60 {
		kind := [...]string{"cat", "dog"}[i%2]
		text += fmt.Sprintf("%d,%g,%s\n", i%5, float64(i%2)+0.01*float64(i%7), kind)
	}
	text = strings.Replace(text, "4,", "-99999,", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.csv"), []byte(text), 0o600))
	r := bilevel("clean --data mine.csv --label kind --iters 20 --out out")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "bilevel: mine.csv: 2 classes occur: cat is 0, dog is 1\n")
	require.Contains(t, r.stderr, "row 4 in column 0 (its value is -99999)")
	require.Empty(t, bilevel("clean --data mine.csv --label kind --iters 20 --out out --quiet").stderr)
}
