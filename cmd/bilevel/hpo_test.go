package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A search compares its methods, draws another program's beside them, and writes what bilevel train takes. The same
// command again only shows it.
func TestHPO(t *testing.T) {
	inNewFolder(t)
	require.NoError(t, os.WriteFile("others.csv", []byte("method,seed,calls,val_loss,test_loss\n"+
		"optuna,1,100,0.9,0.8\noptuna,1,200,0.7,0.6\noptuna,2,100,0.9,0.8\noptuna,2,200,0.7,0.6\n"), 0o644))
	const line = "hpo --data digits --model mlp:4 --train 100 --val 100 --calls 300 --tolerance 0.05 --seeds 2 " +
		"--algo hoag,soba --set outer_step=0.5 --against tpe,random --records 5 --beside others.csv "
	r := bilevel(line)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^hoag +2 +\d`, r.stdout)
	require.Regexp(t, `(?m)^tpe − hoag +test loss`, r.stdout)
	dir := filepath.Join("results", "hpo-digits")
	want := tableFiles(t, dir)
	for _, name := range []string{"val_loss-above-lowest", "test_loss-above-lowest", "val_loss-calls"} {
		require.FileExists(t, filepath.Join(dir, name+".svg"))
	}
	figure, err := os.ReadFile(filepath.Join(dir, "test_loss-above-lowest.svg"))
	require.NoError(t, err)
	require.Contains(t, string(figure), "optuna")
	file, err := os.ReadFile(filepath.Join(dir, "train-seed-2.yaml"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^  - "2.weight=\d`, string(file))
	require.Regexp(t, `(?m)^label_smoothing: 0\.\d`, string(file))
	trained := bilevel("train --epochs 2 --out trained --config " + filepath.Join(dir, "train-seed-2.yaml"))
	require.Equal(t, exitOK, trained.code, trained.stderr)

	require.Equal(t, exitOK, bilevel(line+"--quiet").code)
	require.Equal(t, want, tableFiles(t, dir))
}

// The weights of features, found by folds on a table of one's own, are what train takes for the inputs of its model.
func TestHPOOfATable(t *testing.T) {
	inNewFolder(t)
	var b strings.Builder
	b.WriteString("age,\"height, cm\",kind\n")
	for i := range 90 {
		kind := "a"
		if (i*7)%10 > 4 {
			kind = "b"
		}
		fmt.Fprintf(&b, "%d,%d,%s\n", (i*7)%10, (i*i)%7, kind)
	}
	require.NoError(t, os.WriteFile("own.csv", []byte(b.String()), 0o644))
	r := bilevel("hpo --data ./own.csv --label kind --folds 3 --train 40 --val 20 --calls 200 --against grid " +
		"--out best")
	require.Equal(t, exitOK, r.code, r.stderr)
	file, err := os.ReadFile(filepath.Join("best", "train.yaml"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^  - "weight:1=\S+" # height, cm$`, string(file))
	trained := bilevel("train --epochs 2 --batch 8 --out trained --config best/train.yaml")
	require.Equal(t, exitOK, trained.code, trained.stderr)
}

func TestHPOErrors(t *testing.T) {
	dir := inNewFolder(t)
	require.NoError(t, os.WriteFile("bad.csv", []byte("method,seed\n"), 0o644))
	before := listing(t, dir)
	for line, want := range map[string]string{
		"hpo --algo hog":                 "--algo hog: \"hog\" is no bi-level algorithm",
		"hpo --algo hoag,hoag":           "hoag is there twice",
		"hpo --against optuna":           "\"optuna\" is no search (there are grid, random, tpe)",
		"hpo --calls 0":                  "--calls 0: wants a positive number",
		"hpo --folds 1":                  "folds is 1: wants 2 to 100",
		"hpo --search feature":           `did you mean "features"?`,
		"hpo --search features":          "for two classes, and the data have 10: take --search",
		"hpo --model resnet20":           "wants a perceptron, such as mlp:32",
		"hpo --set outer=1":              "outer",
		"hpo --algo soba --batch 100000": "batch is 100000 and the lower level has",
		"hpo --train 5000":               "its 1797 rows are not enough",
		"hpo --seeds 0":                  "--seeds 0: wants 1 to",
		"hpo --beside bad.csv":           "it has no column calls",
		"hpo more":                       "hpo takes flags only",
		"hpo --algo alternation":         "does not depend on x itself",
		"train --label-smoothing 1":      "label_smoothing 1: wants a part from 0 to below 1",
		"train --decay 0.weight:-1=1":    "wants PATTERN:INPUT=WEIGHT",
	} {
		refused(t, bilevel(line), exitUsage, want)
	}
	refused(t, bilevel("train --decay 0.weight:64=1 --out x --epochs 1"), exitUsage,
		"the array 0.weight has the inputs 0 to 63")
	require.Equal(t, before, listing(t, dir), "nothing was written")
}
