package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyImages is a folder in MNIST's layout: in row i, of the class i mod 10, one column of pixels is bright.
func manyImages(train, test int) map[string][]byte {
	files := map[string][]byte{}
	for part, n := range map[string]int{"train": train, "t10k": test} {
		pixels, labels := make([]byte, n*28*28), make([]byte, n)
		for i := range n {
			labels[i] = byte(i % 10)
			for row := range 28 {
				pixels[(i*28+row)*28+2*(i%10)] = byte(200 + i%50)
			}
			pixels[i*28*28+(i*37)%784] = 90
		}
		files[part+"-images-idx3-ubyte"] = idx(pixels, uint32(n), 28, 28)
		files[part+"-labels-idx1-ubyte"] = idx(labels, uint32(n))
	}
	return files
}

// manyRecords are images in the layout of CIFAR-10: one colour and one row of pixels for each class.
func manyRecords(train, test int) map[string][]byte {
	records := func(n int) (out []byte) {
		for i := range n {
			r := make([]byte, 1+3*32*32)
			r[0] = byte(i % 10)
			for column := range 32 {
				r[1+(i%3)*1024+3*(i%10)*32+column] = byte(200 + i%50)
			}
			out = append(out, r...)
		}
		return out
	}
	return map[string][]byte{"data_batch_1.bin": records(train), "test_batch.bin": records(test)}
}

// smaller is what is added to a command so that it does as much less as nobody waits for.
func smaller(words string) (more string) {
	for _, one := range []struct{ begin, more string }{
		{"clean", " --iters 20"},
		{"clean --data mnist", " --train 120 --val 40 --batch 8"}, // its defaults are for all of MNIST
		{"audit", " --seeds 2"},
		{"compare --problem quadratic", " --calls 100 --seeds 2"},
		{"hpo", " --calls 500"},
		{"prune run", " --skip-latency"},
		{"prune run --data cifar10", " --pretrain-epochs 1 --prune-epochs 1 --finetune-epochs 1"},
		{"prune run --data mnist --method bip-no-implicit", " --seeds 2"},
		{"robust attack", " --n-examples 40"},
		{"robust train", " --train 200"},
		{"robust train --data cifar10", " --train 64 --epochs 1"},
		{"train --data mnist", " --epochs 3"},
	} {
		if strings.HasPrefix(words+" ", one.begin+" ") {
			more += one.more
		}
	}
	if strings.HasPrefix(words, "audit ") && !strings.Contains(words, "--part") {
		more += " --part ridge" // one of its parts
	}
	return more
}

// Every command of the README and of the examples in the help runs as it stands there, one after the other, in a folder
// with data in ./mine and small sets in the layouts of MNIST and CIFAR-10 in their places. Downloads are left out: see
// TestDataGet.
func TestCommandsOfTheReadmeAndTheHelp(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs every command of the README")
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	t.Setenv(asCommand, "1") // for the processes that a table starts
	inNewFolder(t)
	x, y := rows(60)
	mask := slices.Repeat([]uint8{1, 1, 0, 0}, 15) // of both classes
	writeFiles(t, "mine", map[string][]byte{"train_x.npy": array(t, x, 60, 2), "train_y.npy": array(t, y, 60)})
	writeFiles(t, ".", map[string][]byte{"looked-at.npy": array(t, mask, 60)})
	writeFiles(t, filepath.Join("sets", "mnist"), manyImages(250, 50))
	writeFiles(t, filepath.Join("sets", "cifar10"), manyRecords(80, 20))
	sets, err := filepath.Abs("sets")
	require.NoError(t, err)

	count, tried := 0, map[string]bool{}
	try := func(where, line string) {
		line, _, _ = strings.Cut(line, " #")
		for _, one := range strings.Split(line, " && ") {
			words, ok := strings.CutPrefix(strings.TrimSpace(one), "bilevel ")
			require.True(t, ok, "%s: %s is no command of this program", where, one)
			if strings.HasPrefix(words, "data get ") || strings.HasPrefix(words, "bench ") || tried[words] ||
				words == "audit --quick" { // TestAudit runs it
				continue
			}
			tried[words] = true
			r := bilevel(words+smaller(words), "BILEVEL_DATA="+sets)
			require.Equal(t, exitOK, r.code, "%s: bilevel %s: %s", where, words, r.stderr)
			count++
		}
	}
	pages := commandPages()
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if _, examples, ok := strings.Cut(pages[name], "\n## Examples\n\n"); ok {
			examples, _, _ = strings.Cut(examples, "\n\n")
			for _, line := range strings.Split(examples, "\n") {
				try("the help", line)
			}
		}
	}
	require.Greater(t, count, 8)
	for _, line := range regexp.MustCompile(`(?m)^    bilevel .+$`).FindAllString(string(readme), -1) {
		try("README.md", line)
	}
	require.Greater(t, count, 11)
	require.FileExists(t, filepath.Join("results", "mine", "model-seed-5.safetensors"))
}

// Commands that the README names in its text are there.
func TestReadmeNamesCommands(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	names := regexp.MustCompile("`bilevel ([a-z ]+)").FindAllStringSubmatch(string(readme), -1)
	require.Greater(t, len(names), 8)
	for _, name := range names {
		c, rest, err := commandTree().Find(strings.Fields(name[1]))
		require.NoError(t, err)
		require.True(t, len(rest) == 0 || slices.Contains(c.ValidArgs, rest[0]), "README.md names bilevel %s", name[1])
	}
}
