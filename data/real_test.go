package data

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealForms reads real sets in each of the forms that no library of this module writes, where $BILEVEL_DATA has
// them. The counts are those that the sets' publishers give, or of the parts that were cut out.
func TestRealForms(t *testing.T) {
	root := os.Getenv(EnvFolder)
	if root == "" {
		t.Skip("$BILEVEL_DATA is not set: real sets in LIBSVM's, CIFAR's and image files were not read")
	}
	for _, c := range []struct {
		name        string
		named       bool
		shape       []int
		train, test int
		classes     int
		last        [2]int // rows of the last class in each part
	}{
		{"ijcnn1", true, []int{22}, 49_990, 91_701, 2, [2]int{4_853, 8_712}},
		{"adult", true, []int{123}, 32_561, 16_281, 2, [2]int{7_841, 3_846}},
		{"cifar10-subset", false, []int{32, 32, 3}, 10_000, 2_000, 10, [2]int{1_000, 200}},
		{"tiny-imagenet-20", false, []int{64, 64, 3}, 10_000, 1_000, 20, [2]int{500, 50}},
		{"omniglot", true, []int{105, 105}, 19_280, 13_180, 1_623, [2]int{0, 20}},
	} {
		dir := filepath.Join(root, c.name)
		if _, err := os.Stat(dir); err != nil {
			t.Logf("%s is not there", c.name)
			continue
		}
		read := OpenFolder
		if c.named {
			read = func(dir string) (*Dataset, error) { return OpenNamed(c.name, dir) }
		}
		d, err := read(dir)
		require.NoError(t, err, c.name)
		require.Equal(t, c.shape, d.Shape, c.name)
		require.Equal(t, c.classes, d.Classes, c.name)
		for i, s := range []*Set{d.Train, d.Test} {
			require.Equal(t, [2]int{c.train, c.test}[i], s.N(), c.name)
			require.NoError(t, s.Check(d.Classes), c.name)
			last := 0
			for _, y := range s.Labels {
				if int(y) == d.Classes-1 {
					last++
				}
			}
			require.Equal(t, c.last[i], last, c.name)
		}
	}
}
