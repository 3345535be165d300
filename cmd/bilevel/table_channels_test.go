package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/open"
	"bilevel/experiments"
	"bilevel/experiments/table"
	"bilevel/internal/cputime"
	"bilevel/internal/testrun"
)

// pruningRecipes are those of the published settings.
var pruningRecipes = []string{"cifar10-resnet20", "cifar10-resnet18", "cifar100-resnet18", "cifar10-vgg16",
	"tiny-imagenet-resnet18"}

// shortened is a built-in recipe with some of its methods alone, one seed and one epoch of each kind.
func shortened(t testing.TB, name string, methods ...string) *table.Recipe {
	t.Helper()
	text, err := table.Text(name)
	require.NoError(t, err)
	r, err := table.Parse(text)
	require.NoError(t, err)
	r.Methods = slices.DeleteFunc(r.Methods, func(m table.Method) bool { return !slices.Contains(methods, m.Name) })
	require.Len(t, r.Methods, len(methods))
	r.Compare, r.Uncompared, r.Seeds = nil, true, []uint64{1}
	for _, name := range []string{"pretrain_epochs", "prune_epochs", "finetune_epochs"} {
		r.Settings[name] = 1
	}
	return r
}

// The recipes of pruning compile at their full batch: a run on a device that computes nothing, with made-up images in
// the place of the sets. Two of the three with ResNet-18 differ from the third by sizes alone: BILEVEL_LONG adds them.
func TestPruningRecipesCompile(t *testing.T) {
	a := &app{stderr: &bytes.Buffer{}, env: os.Getenv}
	standIn := func(f *common) (*data.Dataset, error) { return data.StandIn(f.data, 260, 4) }
	some := []string{"cifar10-resnet20", "cifar10-vgg16", "tiny-imagenet-resnet18"}
	require.Subset(t, pruningRecipes, some)
	for _, name := range testrun.Size(some, pruningRecipes) {
		r := shortened(t, name, "bip channels")
		r.Settings["val"] = 4
		tab, err := table.Expand(r, a.tables(&common{quiet: true}, newSets(standIn)))
		require.NoError(t, err, name)
		dev, err := open.Open("cpu", open.Options{Threads: 1})
		require.NoError(t, err)
		needs := map[string]rehearsal{}
		for _, c := range tab.Cells {
			run := tab.Rows[c.Row].Run
			need, err := rehearse(t.Context(), dev.Info(), run.Data, run.Experiment, c.Cell)
			require.NoError(t, err, name)
			needs[tab.Name(c.Row)] = need
		}
		require.NoError(t, dev.Close())
		for row, need := range needs {
			// More than the gradients of a batch of 128 are alive at once: the smallest network has 0.7 million
			// activations a row.
			require.Greater(t, need.PeakBytes, 128*700_000*4/4, "%s: %s", name, row)
			t.Logf("%s: %s: %d MiB, %d instructions", name, row, int(need.PeakBytes)>>20, int(need.Work.Instructions))
		}
	}
}

// One iteration of dense training, of the search of bip and of training what is left, at the full batch of each recipe
// of pruning: seconds of processor time beside those of the clock, and the memory that a dry run counts.
// scripts/published-recipes runs each in a process of its own.
func BenchmarkPublishedRecipes(b *testing.B) {
	a := &app{stderr: &bytes.Buffer{}, env: os.Getenv}
	standIn := func(f *common) (*data.Dataset, error) { return data.StandIn(f.data, 132, 4) }
	for _, name := range pruningRecipes {
		b.Run(name, func(b *testing.B) {
			r := shortened(b, name, "bip channels")
			r.Settings["val"], r.Settings["skip_latency"] = 4, true
			tab, err := table.Expand(r, a.tables(&common{quiet: true}, newSets(standIn)))
			require.NoError(b, err)
			dev, err := open.Open("cpu", open.Options{})
			require.NoError(b, err)
			run, cell := tab.Rows[0].Run, tab.Cells[0].Cell
			need, err := rehearse(b.Context(), dev.Info(), run.Data, run.Experiment, cell)
			require.NoError(b, err)
			b.ResetTimer()
			processor := cputime.Seconds()
			for range b.N {
				env := experiments.Env{Data: run.Data}
				_, err := experiments.RunCell(b.Context(), dev, env, run.Experiment, cell, nil)
				require.NoError(b, err)
			}
			b.ReportMetric((cputime.Seconds()-processor)/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(need.PeakBytes)/(1<<20), "planned-MiB")
			require.NoError(b, dev.Close())
		})
	}
}

// cifarRecords are made-up images in the form of CIFAR's binary files, with so many bytes for the label.
func cifarRecords(r *rand.Rand, n, labelBytes int) []byte {
	var text []byte
	for i := range n {
		for range labelBytes {
			text = append(text, byte(i%10))
		}
		for range 32 * 32 * 3 {
			text = append(text, byte(r.Uint32()))
		}
	}
	return text
}

// madeUpSets writes a few images in the official layouts of the sets.
func madeUpSets(t *testing.T, dir string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	put := func(text []byte, path ...string) {
		full := filepath.Join(append([]string{dir}, path...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, text, 0o600))
	}
	for i := range 4 {
		put(cifarRecords(r, 2, 1), "cifar10", fmt.Sprintf("data_batch_%d.bin", i+1))
	}
	put(cifarRecords(r, 4, 1), "cifar10", "test_batch.bin")
	put(cifarRecords(r, 8, 2), "cifar100", "train.bin")
	put(cifarRecords(r, 4, 2), "cifar100", "test.bin")
	put([]byte("n1\nn2\n"), "tiny-imagenet", "wnids.txt")
	notes := ""
	for i := range 12 {
		picture := image.NewRGBA(image.Rect(0, 0, 64, 64))
		for j := range 64 * 64 {
			picture.Set(j%64, j/64, color.RGBA{byte(r.Uint32()), byte(i * 20), byte(j), 255})
		}
		var text bytes.Buffer
		require.NoError(t, jpeg.Encode(&text, picture, nil))
		class, name := fmt.Sprintf("n%d", i%2+1), fmt.Sprintf("%d.JPEG", i)
		if i < 8 {
			put(text.Bytes(), "tiny-imagenet", "train", class, "images", name)
			continue
		}
		put(text.Bytes(), "tiny-imagenet", "val", "images", name)
		notes += name + "\t" + class + "\t0\t0\t62\t62\n"
	}
	put([]byte(notes), "tiny-imagenet", "val", "val_annotations.txt")
}

// The recipes of pruning run: two iterations of each part at batch 2 on a few made-up images in the layout of the sets,
// those of large networks where BILEVEL_LONG is set. Nothing is claimed of what comes out.
func TestPruningRecipesRun(t *testing.T) {
	dir := inNewFolder(t)
	madeUpSets(t, dir)
	for i, name := range pruningRecipes {
		if i > 0 && os.Getenv("BILEVEL_LONG") == "" {
			t.Skipf("%s and larger ones: set BILEVEL_LONG", name)
		}
		text, err := table.Text(name)
		require.NoError(t, err)
		head, _, _ := strings.Cut(string(text), "methods:\n")
		methods := "methods:\n"
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "  bip channels:") {
				methods += line + "\n"
			}
		}
		writeText(t, name+".yaml", head+methods+"seeds: 1\nmeasures: [test_accuracy]\n")
		r := bilevel("table "+name+".yaml --quiet --json --set batch=2 --set val=4 --set pretrain_epochs=1 "+
			"--set prune_epochs=1 --set finetune_epochs=1 --out "+name, "BILEVEL_DATA="+dir)
		require.Equal(t, exitOK, r.code, "%s: %s", name, r.stderr)
		require.Equal(t, 1.0, lastLine(t, r)["finished"], name)
	}
}
