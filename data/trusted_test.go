package data_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
)

// labelled is n rows of one feature, i for row i, with labels that go round the classes.
func labelled(n, first, classes int) *data.Set {
	s := &data.Set{Dim: 1}
	for i := range n {
		s.Features, s.Labels = append(s.Features, float32(first+i)), append(s.Labels, int32(i%classes))
	}
	return s
}

func TestJudgeMarkedRows(t *testing.T) {
	set := &data.Dataset{Name: "own", Classes: 3, Train: labelled(30, 0, 3)}
	marks := make([]bool, 30)
	for i := 20; i < 29; i++ {
		marks[i] = true
	}
	d, err := data.Judge(set, data.Judging{Trusted: marks}, 1)
	require.NoError(t, err)
	require.Empty(t, d.Warnings)
	require.Equal(t, 21, d.Train.N())
	require.Equal(t, []int32{20, 21, 22, 23, 24, 25, 26, 27, 28}, d.TrustedRows)
	require.Equal(t, set.Train.Labels[20:29], d.Trusted.Labels)
	require.Nil(t, d.Test)
	require.Nil(t, d.Changed)
	seen := slices.Concat(d.Rows, d.TrustedRows)
	slices.Sort(seen)
	for i, row := range seen {
		require.EqualValues(t, i, row, "every training row is judged or trusted")
	}
	mean := 0.0
	for _, v := range d.Train.Features {
		mean += float64(v) / 21
	}
	require.InDelta(t, 0, mean, 1e-6, "standardized by the judged rows")
}

// A class without trusted rows gets some of its training rows as stand-ins; a label on three rows at most is a mistake.
func TestJudgeClassesWithoutTrustedRows(t *testing.T) {
	set := &data.Dataset{Name: "own", Classes: 4, Train: labelled(40, 0, 3), Val: labelled(8, 100, 2)}
	set.Train.Labels[7] = 3
	d, err := data.Judge(set, data.Judging{}, 1)
	require.NoError(t, err)
	require.Len(t, d.Warnings, 2)
	require.Contains(t, d.Warnings[0], "class 2 has no trusted rows: 4 of its 13 training rows stand in")
	require.Contains(t, d.Warnings[1],
		"the label 3 occurs in 1 training row (the first is row 7) and in no trusted one")
	require.Equal(t, 4, d.Provisional)
	require.Equal(t, []int32{2, 5, 8, 11}, d.TrustedRows)
	require.Equal(t, []int32{0, 1, 0, 1, 0, 1, 0, 1, 2, 2, 2, 2}, d.Trusted.Labels)
	require.NotContains(t, d.Rows, int32(5))
	require.Contains(t, d.Rows, int32(7))
}

// Of many classes with the same fault three are named and the others counted.
func TestJudgeWarnsOfManyClassesOnce(t *testing.T) {
	set := &data.Dataset{Name: "own", Classes: 20, Train: labelled(400, 0, 20), Val: labelled(30, 1000, 10)}
	d, err := data.Judge(set, data.Judging{}, 1)
	require.NoError(t, err)
	require.Len(t, d.Warnings, 4)
	require.Contains(t, d.Warnings[2], "class 12 has no trusted rows")
	require.Equal(t, "so it is with 7 more classes", d.Warnings[3])
}

// Without trusted rows too, a label that next to no row carries gets a word.
func TestJudgeNamesStrays(t *testing.T) {
	set := &data.Dataset{Name: "own", Classes: 4, Train: labelled(300, 0, 3)}
	set.Train.Labels[7] = 3
	d, err := data.Judge(set, data.Judging{}, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"the label 3 occurs in 1 training row (the first is row 7): that is too few to learn " +
		"what it means, so that it is suggested for no row"}, d.Warnings)
	set.Classes, set.Train = 3, labelled(9, 0, 3)
	d, err = data.Judge(set, data.Judging{}, 1)
	require.NoError(t, err)
	require.Empty(t, d.Warnings, "classes of a set that is small as a whole are none")
}

func TestJudgeCorrupts(t *testing.T) {
	set := &data.Dataset{Name: "own", Classes: 3, Train: labelled(300, 0, 3)}
	d, err := data.Judge(set, data.Judging{Corrupt: 0.5, Train: 200, Val: 50}, 4)
	require.NoError(t, err)
	require.Equal(t, 200, d.Train.N())
	require.Equal(t, 50, d.Test.N())
	wrong := 0
	for i, row := range d.Rows {
		changed := set.Train.Labels[row] != d.Train.Labels[i]
		require.Equal(t, changed, d.Changed[i])
		if changed {
			wrong++
		}
	}
	require.InDelta(t, 200*0.5*2/3, wrong, 25)
	for i, row := range d.TrustedRows {
		require.Equal(t, set.Train.Labels[row], d.Trusted.Labels[i])
		require.NotContains(t, d.Rows, row)
	}
}

func TestJudgeRefuses(t *testing.T) {
	train := labelled(40, 0, 2)
	copies, err := train.Rows([]int32{3, 4, 5, 6})
	require.NoError(t, err)
	stray := labelled(4, 100, 2)
	stray.Labels[3] = 2
	for name, c := range map[string]struct {
		val  *data.Set
		want string
	}{
		"copies": {copies,
			"4 of 4 trusted rows are training rows too (such as: trusted row 0 is training row 3, by its features)"},
		"unknown": {stray, "the label 2 of trusted row 3 occurs in no training row"},
		"few":     {labelled(1, 100, 2), "there are 1 trusted rows for 2 classes"},
	} {
		_, err := data.Judge(&data.Dataset{Classes: 3, Train: train, Val: c.val}, data.Judging{}, 1)
		require.ErrorContains(t, err, c.want, name)
	}
	_, err = data.Judge(&data.Dataset{Classes: 1, Train: train}, data.Judging{}, 1)
	require.ErrorContains(t, err, "at least two classes")
	all := make([]bool, 40)
	for i := range all {
		all[i] = true
	}
	_, err = data.Judge(&data.Dataset{Classes: 2, Train: train}, data.Judging{Trusted: all}, 1)
	require.ErrorContains(t, err, "0 rows are left to be judged")
}

// Rows of a table of categories are equal by chance: that is said once, and counts rows.
func TestJudgeEqualRows(t *testing.T) {
	train := labelled(200, 0, 2)
	for i := range train.Features {
		train.Features[i] = float32(i / 2 % 7)
	}
	marks := make([]bool, 200)
	for i := range 20 {
		marks[i] = true
	}
	d, err := data.Judge(&data.Dataset{Classes: 2, Train: train}, data.Judging{Trusted: marks}, 1)
	require.NoError(t, err)
	want := "the features of 20 of 20 trusted rows are those of judged rows too"
	require.Equal(t, []string{want + " (such as: trusted row 0 is training row 28)"}, d.Warnings)

	val, err := train.Rows(d.TrustedRows)
	require.NoError(t, err)
	d, err = data.Judge(&data.Dataset{Classes: 2, Train: train, Val: val}, data.Judging{}, 1)
	require.NoError(t, err)
	require.Equal(t, []string{want + " (such as: trusted row 0 is training row 0)"}, d.Warnings)

	single := labelled(200, 0, 2) // where rows are marked, equal ones are no mistake even if each has just one partner
	copy(single.Features[:20], single.Features[20:40])
	d, err = data.Judge(&data.Dataset{Classes: 2, Train: single}, data.Judging{Trusted: marks}, 1)
	require.NoError(t, err)
	require.Len(t, d.Warnings, 1)
}

// One row must not decide a column's scale: the others would all become the same number.
func TestJudgeScalesPastOutliers(t *testing.T) {
	train := labelled(100, 0, 2)
	train.Features[30] = 1e9
	d, err := data.Judge(&data.Dataset{Classes: 2, Train: train}, data.Judging{}, 1)
	require.NoError(t, err)
	require.Len(t, d.Warnings, 1)
	require.Contains(t, d.Warnings[0], "row 30 has 1e+09 in column 0")
	require.Greater(t, float64(d.Train.Features[99]-d.Train.Features[0]), 2.0, "rows still differ")
	require.Less(t, math.Abs(float64(d.Train.Features[30])), 1001.0)
	sparse := labelled(100, 0, 2)
	for i := range sparse.Features {
		sparse.Features[i] = 0
	}
	sparse.Features[30] = 255 // a pixel that is set once is no outlier
	d, err = data.Judge(&data.Dataset{Classes: 2, Train: sparse}, data.Judging{}, 1)
	require.NoError(t, err)
	require.Empty(t, d.Warnings)
}

func TestFindTrusted(t *testing.T) {
	dir := t.TempDir()
	set := &data.Dataset{Source: dir, Classes: 2, Train: labelled(3, 0, 2)}
	marks, err := data.FindTrusted(set, "")
	require.NoError(t, err)
	require.Nil(t, marks)
	_, err = data.FindTrusted(set, filepath.Join(dir, "none.npy"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
