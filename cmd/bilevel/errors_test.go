package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/npy"
	"bilevel/tensor"
)

// refused checks what all errors have in common: the exit status is code; standard output is empty; standard error has
// one sentence, which begins with the command's name, contains every string of want, and shows nothing that only a Go
// programmer understands. In a build with CUDA, the notice that there is no card may come before the sentence.
func refused(t *testing.T, r result, code int, want ...string) {
	t.Helper()
	require.Equal(t, code, r.code, r.stderr)
	require.Empty(t, r.stdout)
	sentence := strings.TrimSuffix(r.stderr, "\n")
	notice, rest, ok := strings.Cut(sentence, "\n")
	if ok && hasCUDA && strings.HasPrefix(notice, "bilevel: running on cpu: ") {
		sentence = rest
	}
	require.NotContains(t, sentence, "\n", "there must be one sentence")
	require.True(t, strings.HasPrefix(sentence, "bilevel: "), sentence)
	for _, inside := range []string{
		"%!", "strconv", "invalid argument", "goroutine", "panic", "0x", "<nil>", `""`, "unsupported value", ".go:",
		"json:", ".tmp-",
	} {
		require.NotContains(t, sentence, inside)
	}
	for _, w := range want {
		require.Contains(t, sentence, w)
	}
}

func TestUsageErrors(t *testing.T) {
	dir := inNewFolder(t)
	for _, c := range []struct{ line, want string }{
		{"claen", `unknown command "claen"; did you mean "clean"? (bilevel help lists them)`},
		{"zzzzzz", `unknown command "zzzzzz" (bilevel help lists them)`},
		{"claen --data mnist", `unknown command "claen"; did you mean "clean"?`},
		{"help claen", `did you mean "clean"?`},
		{"help nothing", `unknown command "nothing"`},
		{"clean extra", `bilevel clean takes flags only, not "extra"`},
		{"version extra", `bilevel version takes flags only, not "extra"`},
		{"doctor extra", `takes flags only`},
		{"--versoin", `did you mean --version? (bilevel --help lists them)`},
		{"doctor --json", `--json is for one device: give --device too`},
		{"doctor --out x", `--out is for one device: give --device too`},
		{"doctor --device cup", `did you mean "cpu"?`},
		{"doctor --device cuda-sim:h10", `did you mean "h100"?`},
		{"clean --itres 4", `unknown flag --itres; did you mean --iters? (bilevel clean --help lists them)`},
		{"clean --xyzzyxyzzy", `unknown flag --xyzzyxyzzy (bilevel clean --help lists them)`},
		{"clean -iters 4", `unknown flag -iters; did you mean --iters?`},
		{"clean -z", `unknown flag -z (`},
		{"clean --=3", `--=3 is not a flag`},
		{"clean --iters", `--iters wants a whole number after it`},
		{"clean --data", `--data wants a value after it`},
		{"clean --iters x", `--iters "x": wants a whole number`},
		{"clean --iters 1.5", `--iters "1.5": wants a whole number`},
		{"clean --iters 99999999999999999999", `--iters 99999999999999999999: out of range`},
		{"clean --iters 4294967297", `--iters 4294967297: wants 1 to 2147483647`},
		{"clean --iters 0", `--iters 0: wants 1 to`},
		{"clean --seed -1", `--seed "-1": wants a whole number from 0 on`},
		{"clean --seed 18446744073709551615 --seeds 2", `the last seed would be above 18446744073709551615`},
		{"clean --seeds 0", `--seeds 0: wants 1`},
		{"clean --train -5", `--train -5: wants 1`},
		{"clean --val 0", `--val 0: wants 1`},
		{"clean --batch 0", `--batch 0: wants 1`},
		{"clean --batch 100000000",
			`minibatches of 100000000 rows out of 1200 training rows: wants 1 to 1200`},
		{"clean --json=maybe", `--json "maybe": wants true or false`},
		{"clean --reg x", `--reg "x": wants a number`},
		{"clean --reg 0", `--reg 0: wants a positive number`},
		{"clean --reg -1", `--reg -1: wants a positive number`},
		{"clean --step nan", `--step NaN: wants a positive number`},
		{"clean --step inf", `--step +Inf: wants a positive number`},
		{"clean --outer-step 1e999", `--outer-step 1e999: out of range`},
		{"clean --corrupt 1.1", `--corrupt 1.1: wants a probability from 0 to 1`},
		{"clean --corrupt nan", `--corrupt NaN: wants a probability`},
		{"clean --threads -1", `--threads -1: wants 0 (all) to`},
		{"clean --device cpu --matmul tf32", `--matmul tf32: the device cpu has no tensor cores`},
		{"clean --device cpu:avx2 --matmul tf32", `--matmul tf32: the device cpu:avx2 has no tensor cores`},
		{"clean --matmul bf16", `--matmul bf16: wants float32 or tf32`},
		{"clean --threads 1000000", `wants 0 (all) to`},
		{"clean --train 5000", `its 1797 rows are not enough for ` +
			`5000 training and 200 validation rows, and some left for a test`},
		{"clean --data mnsit", `unknown data set "mnsit"; did you mean mnist?`},
		{"clean --data nothing-like-it",
			`known are digits, mnist, fashion-mnist, cifar10, cifar100, ijcnn1, adult, tiny-imagenet, omniglot, and ` +
				`folders: for a folder write ./nothing-like-it`},
		{"clean --data=", `the name of a data set is missing`},
		{"clean --algo sboa", `unknown algorithm "sboa"`},
		{"clean --algo sboa", `did you mean "soba"?`},
		{"clean --algo adagradient", `unknown algorithm "adagradient"`},
		{"clean --schedule sqr", `did you mean "sqrt"?`},
		{"clean --weights tabel",
			`unknown weights "tabel" (there are auto, table, rows, none, plain); did you mean "table"?`},
		{"clean --model mpl:64", `did you mean "mlp:64"?`},
		{"clean --algo f2sa", `--algo and --schedule go with --weights plain`},
		{"clean --weights plain --model softmax", `--trusted and --model do not go with it`},
		{"clean --trusted marks.npy", `--trusted marks rows of data of your own: give --data too`},
		{"clean --data ./mine --val 50", `--val draws rows at random, and nobody has looked at their labels`},
		{"clean --device cup", `did you mean "cpu"?`},
		{"clean --device cpu:avx51", `did you mean "avx512"?`},
		{"clean --device opencl", `unknown device "opencl"`},
		{"clean --device cuda:x", `unknown device "cuda:x"`},
		{"clean --device cuda-sim:h100,a100:2", `no card "2" of h100,a100`},
		{"train --ema nan", `--ema NaN: wants a finite number`},
		{"train --label-smoothing inf", `--label-smoothing +Inf: wants a finite number`},
		{"train --momentum 1", `momentum is 1: wants a number from 0 to below 1`},
		{"train --momentum -0.1", `momentum is -0.1: wants a number from 0 to below 1`},
		{"train --weight-decay -1", `weight_decay is -1: wants a finite number from 0 on`},
		{"train --decay weight:99=1 --model softmax", `decay "weight:99=1": the array weight has the inputs 0 to 63`},
		{"train --augment crop-flip --model mlp:8", `the model mlp:8 is not for images`},
		{"train --batch 1 --batch-norm", `batch is 1: batch normalization wants at least 2 rows`},
		{"prune run --inverse-gamma nan", `--inverse-gamma NaN: wants a finite number`},
		{"prune run --momentum 1", `momentum is 1: wants a number from 0 to below 1`},
		{"prune run --augment crop-flip", `the model mlp:300-100 is not for images`},
		{"robust train --weight-average nan", `--weight-average NaN: wants a finite number`},
		{"robust train --eps 8/0", `--eps "8/0": wants a number`},
		{"completion bash extra", `takes flags only, not "extra"`},
		{"table --list extra", `takes flags only, not "extra"`},
	} {
		t.Run(c.line, func(t *testing.T) {
			line := c.line
			if rest, ok := strings.CutPrefix(line, "clean "); ok {
				line = "clean --out out " + rest
			}
			refused(t, bilevel(line), exitUsage, c.want)
			require.Empty(t, listing(t, dir))
		})
	}
}

// Joined errors are one line, and a wrong graph is not told by the line of the program that builds it.
func TestSentence(t *testing.T) {
	built := &tensor.BuildError{Package: "models", Op: "MLP", Detail: "too few rows", File: "/x/model.go", Line: 7}
	require.Equal(t, "seed 1: models: MLP: too few rows; closed", sentence(errors.Join(
		fmt.Errorf("seed 1: %w", built), errors.New("closed\n"))))
}

func TestMissingThings(t *testing.T) {
	dir := inNewFolder(t)
	cache := filepath.Join(dir, "no-cache")
	for _, name := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} {
		t.Setenv(name, cache)
	}
	empty := t.TempDir()
	for _, c := range []struct {
		line string
		want []string
	}{
		{"clean --device cuda:99",
			[]string{"device not available: cuda:99: ", "; use --device cpu, or cuda-sim for a simulated card"}},
		{"clean --data mnist", []string{"bilevel data get mnist", filepath.Join(empty, "mnist")}},
		{"clean --data fashion-mnist",
			[]string{"bilevel data get fashion-mnist", filepath.Join(empty, "fashion-mnist")}},
		{"clean --data ./nowhere", []string{"./nowhere"}},
		{"clean --data .", []string{"train_x.npy", "train-images-idx3-ubyte"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			if c.want[0] == "bilevel data get mnist" && runtime.GOOS == "linux" {
				c.want = append(c.want, cache) // the error names both folders that may have the data set
			}
			refused(t, bilevel(c.line+" --out out", "BILEVEL_DATA="+empty), exitEnvironment, c.want...)
			require.Empty(t, listing(t, dir))
		})
	}
}

// idx is the content of a file in MNIST's IDX format, with elements of one byte.
func idx(data []byte, shape ...uint32) []byte {
	b := []byte{0, 0, 8, byte(len(shape))}
	for _, d := range shape {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

// writeFiles puts files into a folder.
func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, b := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// array is the content of an .npy file.
func array[T npy.Elem](t *testing.T, values []T, shape ...int) []byte {
	t.Helper()
	a, err := npy.New(values, shape...)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, npy.Write(&b, a))
	return b.Bytes()
}

// images is a folder in MNIST's layout with 40 training and 10 test images.
func images() map[string][]byte {
	labels := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i % 10)
		}
		return b
	}
	return map[string][]byte{
		"train-images-idx3-ubyte": idx(make([]byte, 40*28*28), 40, 28, 28),
		"train-labels-idx1-ubyte": idx(labels(40), 40),
		"t10k-images-idx3-ubyte":  idx(make([]byte, 10*28*28), 10, 28, 28),
		"t10k-labels-idx1-ubyte":  idx(labels(10), 10),
	}
}

// rows is n rows of two columns and their labels. The first column tells the two classes apart.
func rows(n int) (x []float32, y []int32) {
	for i := range n {
		c := int32(i % 2)
		x = append(x, float32(2*c-1)+0.01*float32(i%7), float32(i%5))
		y = append(y, c)
	}
	return x, y
}

func TestBadData(t *testing.T) {
	x, y := rows(40)
	bad := append([]float32(nil), x...)
	bad[7] = float32(math.NaN())
	whole := images()
	with := func(name string, b []byte) map[string][]byte {
		files := images()
		if files[name] = b; b == nil {
			delete(files, name)
		}
		return files
	}
	const trainX, trainY = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	xFile, yFile := array(t, x, 40, 2), array(t, y, 40)
	train := func(x, y []byte) map[string][]byte {
		return map[string][]byte{"train_x.npy": x, "train_y.npy": y}
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"truncated":   {with(trainX, whole[trainX][:5000]), []string{trainX, "bilevel data get mnist"}},
		"no header":   {with(trainY, []byte{0, 0}), []string{trainY, "header"}},
		"wrong magic": {with(trainX, append([]byte("PNG!"), whole[trainX]...)), []string{trainX, "not an IDX file"}},
		"missing":     {with(trainY, nil), []string{trainY, "missing"}},
		"empty":       {with(trainX, nil), []string{trainX}},
		"label 10": {with(trainY, idx(append(make([]byte, 39), 10), 40)),
			[]string{"training row 39", "is 10", "0 … 9"}},
		"few labels":  {with(trainY, idx(make([]byte, 39), 39)), []string{"40 images", "39 labels"}},
		"wrong shape": {with("t10k-images-idx3-ubyte", idx(make([]byte, 60), 10, 2, 3)), []string{"[2 3]"}},
		"swapped":     {with(trainX, whole[trainY]), []string{trainX, "not images"}},
		"npy: NaN":    {train(array(t, bad, 40, 2), yFile), []string{"train_x.npy", "row 3, column 1", "NaN"}},
		"npy: floats": {train(xFile, array(t, x[:40], 40)), []string{"train_y.npy", "row 2", "whole numbers"}},
		"npy: cut":    {train(xFile[:200], yFile), []string{"train_x.npy"}},
		"npy: rows":   {train(xFile, array(t, y[:39], 39)), []string{"40 rows", "39 labels"}},
		"npy: no y":   {map[string][]byte{"train_x.npy": xFile}, []string{"train_y.npy", "missing"}},
		"npy: columns": {map[string][]byte{
			"train_x.npy": xFile, "train_y.npy": yFile,
			"test_x.npy": array(t, x, 16, 5), "test_y.npy": array(t, y[:16], 16),
		}, []string{"test_x.npy"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			writeFiles(t, filepath.Join(root, "mnist"), c.files)
			dir := inNewFolder(t)
			set := "mnist"
			if strings.HasPrefix(name, "npy") {
				set = filepath.Join(root, "mnist")
			}
			refused(t, bilevel("clean --iters 3 --out out --data "+set, "BILEVEL_DATA="+root), exitEnvironment,
				c.want...)
			require.Empty(t, listing(t, dir))
		})
	}
}

func TestCleanOnesOwnRows(t *testing.T) {
	x, y := rows(60)
	y[10] = 1 - y[10] // one wrong label
	own := t.TempDir()
	writeFiles(t, own, map[string][]byte{"train_x.npy": array(t, x, 60, 2), "train_y.npy": array(t, y, 60)})
	inNewFolder(t)
	r := bilevel("clean --json --quiet --iters 300 --out out --data " + own)
	require.Equal(t, exitOK, r.code, r.stderr)
	got := lastLine(t, r)
	for _, key := range []string{"auc", "p_at_k", "precision", "recall", "test_error"} {
		require.NotContains(t, got, key, "nobody knows the truth")
	}
	require.Contains(t, got["headline"], "no bi-level run was made")
	require.Contains(t, got["advice"], "--trusted FILE")
	lines := readLines(t, filepath.Join("out", "suspects.csv"))
	require.Equal(t, "row,given_label,suggested_label,p_given,p_right,weight,flagged", lines[0])
	require.Len(t, lines, 1+60, "every row, once")
	require.Regexp(t, `^10,1,0,`, lines[1], "the wrong label comes first")
	require.Equal(t, "10,0", readLines(t, filepath.Join("out", "labels.csv"))[11], "and is mended")
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestCleanTrustedRows(t *testing.T) {
	x, y := rows(60)
	y[10] = 1 - y[10]
	mask := make([]uint8, 60)
	for i := 20; i < 40; i++ {
		mask[i] = 1
	}
	own := t.TempDir()
	files := map[string][]byte{"train_x.npy": array(t, x, 60, 2), "train_y.npy": array(t, y, 60)}
	writeFiles(t, own, files)
	inNewFolder(t)
	writeFiles(t, ".", map[string][]byte{"marks.npy": array(t, mask, 60), "short.npy": array(t, mask[:50], 50),
		"two.npy": array(t, append([]uint8{2}, mask[1:]...), 60)})
	const run = "clean --model softmax --weights table --iters 50 --out out --data "
	r := bilevel(run + own + " --trusted marks.npy")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "beside self-training the upper level brought")
	lines := readLines(t, filepath.Join("out", "suspects.csv"))
	require.Len(t, lines, 1+60, "every row, once")
	require.Regexp(t, `^10,1,0,.*,1$`, lines[1])

	writeFiles(t, own, map[string][]byte{"val_x.npy": array(t, x[20:], 50, 2), "val_y.npy": array(t, y[20:50], 30)})
	refused(t, bilevel(run+own), exitEnvironment, "val_x.npy holds 50 rows, but", "holds 30 labels")
	writeFiles(t, own, map[string][]byte{"val_x.npy": array(t, x[40:80], 20, 2), "val_y.npy": array(t, y[20:40], 20)})
	refused(t, bilevel(run+own), exitEnvironment,
		"20 of 20 trusted rows are training rows too (such as: trusted row 0 is training row 20")
	refused(t, bilevel(run+own+" --trusted marks.npy"), exitEnvironment, "trusted rows are named twice")
	writeFiles(t, own, map[string][]byte{"val_x.npy": array(t, []float32{-9, 0, 9, 0}, 2, 2),
		"val_y.npy": array(t, []int32{0, 2}, 2)})
	refused(t, bilevel(run+own+" --quiet"), exitEnvironment, "the label 2 of trusted row 1 occurs in no training row")
	writeFiles(t, own, map[string][]byte{"val_x.npy": array(t, []float32{-9, 0}, 1, 2),
		"val_y.npy": array(t, []int32{0}, 1)})
	refused(t, bilevel(run+own), exitEnvironment, "there are 1 trusted rows for 2 classes")
	require.NoError(t, os.Remove(filepath.Join(own, "val_x.npy")))
	require.NoError(t, os.Remove(filepath.Join(own, "val_y.npy")))
	refused(t, bilevel(run+own+" --trusted short.npy"), exitEnvironment,
		"short.npy: the shape is [50], but there are 60 training rows")
	refused(t, bilevel(run+own+" --trusted two.npy"), exitEnvironment, "two.npy: entry 0 (counted from 0) is 2")
	refused(t, bilevel(run+own), exitUsage, "--weights table wants trusted rows")
}

func TestBlowUpWritesNothing(t *testing.T) {
	dir := inNewFolder(t)
	r := bilevel("clean --weights plain --quiet --json --step 1e30 --iters 100 --out out")
	refused(t, r, exitEnvironment, "clean digits: seed 1: soba on hyper-cleaning: not finite after iteration ",
		"use smaller step sizes")
	require.Empty(t, listing(t, dir))
}

func TestUnwritableResults(t *testing.T) {
	dir := inNewFolder(t)
	require.NoError(t, os.WriteFile("file", nil, 0o600))
	for _, out := range []string{"file", "file/below"} {
		refused(t, bilevel("clean --iters 5 --out "+out), exitEnvironment,
			"results cannot be written to "+out, "give another folder as --out")
	}
	require.Equal(t, []string{"file"}, listing(t, dir))

	require.NoError(t, os.Mkdir("locked", 0o500))
	if f, err := os.Create(filepath.Join("locked", "probe")); err == nil {
		f.Close()
		t.Skip("this user may write everywhere: read-only folders cannot be tested")
	}
	refused(t, bilevel("clean --iters 5 --out locked/out"), exitEnvironment, "permission denied")
}

func TestInterrupted(t *testing.T) {
	dir := inNewFolder(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := command(ctx, strings.Fields("clean --iters 20 --quiet --json --out out"))
	refused(t, r, exitEnvironment, "stopped by Ctrl-C or SIGTERM: 0 of 1 seeds are finished; go on with: "+
		"bilevel clean --resume out")
	require.NoFileExists(t, filepath.Join(dir, "out", "result.json"))

	// What the message advises works.
	r = bilevel("clean --quiet --json --resume out")
	require.Zero(t, r.code, r.stderr)
	require.FileExists(t, filepath.Join(dir, "out", "result.json"))
}
