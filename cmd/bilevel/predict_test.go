package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/safetensors"
)

// Columns far from 0 are learned as others are, and predict reads the very same numbers, also of a few of the rows.
func TestPredictFarFromZero(t *testing.T) {
	inNewFolder(t)
	x, y := rows(60)
	far := make([]float64, len(x))
	for i, v := range x {
		far[i] = float64(v) + 1e10
	}
	writeFiles(t, "mine", map[string][]byte{"train_x.npy": array(t, far, 60, 2), "train_y.npy": array(t, y, 60)})
	writeFiles(t, ".", map[string][]byte{"few.npy": array(t, far[:6], 3, 2)})
	r := bilevel("train --data ./mine --model softmax --epochs 50 --step 0.5 --out r")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.NotContains(t, r.stderr, "far from 0")
	const predict = "predict --model r/model.safetensors --data "
	all := readOut(bilevel(predict + "./mine"))
	for i, class := range y {
		require.True(t, strings.HasPrefix(all[i+1], fmt.Sprintf("%d,%d,", i, class)), all[i+1])
	}
	require.Equal(t, all[:4], readOut(bilevel(predict+"./few.npy")))

	r = bilevel("prune run --data ./mine --from r/model.safetensors --method omp --keep 1 --json --out p")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.NotContains(t, r.stderr, "far from 0")
	require.Equal(t, 1.0, lastLine(t, r)["dense_val_accuracy"], "a pruned network reads the same numbers")
	for i, line := range readOut(bilevel("predict --model p/model.safetensors --data ./mine"))[1:] {
		require.True(t, strings.HasPrefix(line, fmt.Sprintf("%d,%d,", i, y[i])), line)
	}
}

// LIBSVM's text leaves values of 0 out: rows whose last ones are all 0 are as wide as those of the training.
func TestPredictLIBSVM(t *testing.T) {
	inNewFolder(t)
	for first := range 2 { // the least index
		train := ""
		for i := range 60 {
			train += fmt.Sprintf("%d %d:%d %d:1 %d:%d\n", i%2, first, 2*(i%2)+1, first+1, first+2, i%3)
		}
		few := fmt.Sprintf("0\n1 %d:3 %d:1\n0 %d:1 %d:1\n", first, first+1, first, first+1)
		zeros := fmt.Sprintf("1 %d:1\n", first+1) // says nothing of the first index
		wide := few + fmt.Sprintf("0 %d:1\n", first+3)
		writeFiles(t, ".", map[string][]byte{"t": []byte(train), "few": []byte(few), "wide": []byte(wide),
			"zeros": []byte(zeros), "x.npy": array(t, []float32{0, 0, 0, 3, 1, 0, 1, 1, 0}, 3, 3),
			"z.npy": array(t, []float32{0, 1, 0}, 1, 3)})
		r := bilevel("train --data ./t --model softmax --epochs 30 --quiet --out r" + fmt.Sprint(first))
		require.Equal(t, exitOK, r.code, r.stderr)
		predict := fmt.Sprintf("predict --model r%d/model.safetensors --data ", first)
		require.Equal(t, readOut(bilevel(predict+"./x.npy")), readOut(bilevel(predict+"./few")))
		require.Equal(t, readOut(bilevel(predict+"./z.npy")), readOut(bilevel(predict+"./zeros")))
		refused(t, bilevel(predict+"./wide"), exitEnvironment, "the rows have 4 features, the model")
	}
}

func readOut(r result) []string { return strings.Split(strings.TrimSpace(r.stdout), "\n") }

// Rows without labels, in any form and with columns in any order, are labelled with the names that the training data
// use.
func TestPredictUnlabelled(t *testing.T) {
	inNewFolder(t)
	x, y := rows(60)
	names := []string{"cat", "dog"}
	table, plain, turned := "a,b,kind\n", "a,b\n", "id,b,a\n"
	for i, class := range y {
		table += fmt.Sprintf("%g,%g,%s\n", x[2*i], x[2*i+1], names[class])
		plain += fmt.Sprintf("%g,%g\n", x[2*i], x[2*i+1])
		turned += fmt.Sprintf("row-%d,%g,%g\n", i, x[2*i+1], x[2*i])
	}
	writeFiles(t, ".", map[string][]byte{
		"t.csv": []byte(table), "plain.csv": []byte(plain), "turned.csv": []byte(turned), "x.npy": array(t, x, 60, 2),
		"wide.npy": array(t, make([]float32, 9), 3, 3), "c.csv": []byte("a,c\n1,2\n"),
	})
	writeFiles(t, "folder", map[string][]byte{"train_x.npy": array(t, x, 60, 2)})
	writeFiles(t, ".", map[string][]byte{"x.npz": zipped(t, map[string][]byte{"x.npy": array(t, x, 60, 2)})})
	r := bilevel("train --data ./t.csv --label kind --model softmax --epochs 50 --step 0.5 --quiet --out r")
	require.Equal(t, exitOK, r.code, r.stderr)
	model := filepath.Join("r", "model.safetensors")
	want := bilevel("predict --model " + model + " --data ./t.csv").stdout
	lines := strings.Split(strings.TrimSpace(want), "\n")
	require.Len(t, lines, 61)
	for i, class := range y {
		require.True(t, strings.HasPrefix(lines[i+1], fmt.Sprintf("%d,%s,", i, names[class])), lines[i+1])
	}
	for _, data := range []string{"./plain.csv", "./turned.csv", "./x.npy", "./folder", "./x.npz"} {
		r := bilevel("predict --model " + model + " --data " + data)
		require.Equal(t, exitOK, r.code, r.stderr)
		require.Equal(t, want, r.stdout, data)
	}
	refused(t, bilevel("predict --data ./c.csv --model "+model), exitEnvironment, `the column "b" is missing`)
	refused(t, bilevel("predict --data ./wide.npy --model "+model), exitEnvironment,
		"the rows have 3 features, the model")
	refused(t, bilevel("predict --data ./folder --part test --model "+model), exitUsage, "has no such part")
	refused(t, bilevel("train --data ./folder --quiet"), exitEnvironment, "the training labels are missing")

	for _, name := range []string{"result.json", "report.html"} { // outputs name the classes
		text, err := os.ReadFile(filepath.Join("r", name))
		require.NoError(t, err)
		require.Regexp(t, `in order: cat, dog|"class_mapping": \[\s+"cat",\s+"dog"\s+\]`, string(text))
	}
	plainWeights := bilevel("clean --data ./t.csv --label kind --weights plain --corrupt 0.2 --train 20 --val 20 " +
		"--iters 20 --batch 8 --quiet --json --out c")
	require.Equal(t, []any{"cat", "dog"}, lastLine(t, plainWeights)["class_mapping"], plainWeights.stderr)

	text, err := os.ReadFile(model)
	require.NoError(t, err)
	broken := strings.Replace(string(text), `[\"cat\",\"dog\"]`, `{\"cat\":\"dog\"}`, 1)
	require.NotEqual(t, string(text), broken)
	writeText(t, "broken", broken)
	refused(t, bilevel("predict --data ./x.npy --model broken"), exitEnvironment,
		`its metadata "class_names" are no list`)
}

// A model whose outputs are no numbers labels nothing.
func TestPredictWithoutNumbers(t *testing.T) {
	inNewFolder(t)
	require.Equal(t, exitOK, bilevel("train --quiet --model softmax --epochs 1 --out m").code)
	for name, value := range map[string]float64{"weight": math.NaN(), "scaler.deviation": 0} {
		f, err := safetensors.ReadFile(filepath.Join("m", "model.safetensors"), "model")
		require.NoError(t, err)
		a := f.Arrays[name]
		values := a.Reals()
		values[9] = value
		f.Arrays[name] = safetensors.Compact(a.Shape, values)
		var b bytes.Buffer
		require.NoError(t, safetensors.Write(&b, *f))
		require.NoError(t, os.WriteFile("bad.safetensors", b.Bytes(), 0o600))
		for _, out := range []string{"", " --out labels.csv", " --out logits.npy"} {
			refused(t, bilevel("predict --model bad.safetensors"+out), exitEnvironment, "bad.safetensors")
		}
	}
	require.Equal(t, []string{"bad.safetensors", "m"}, listing(t, "."))
}
