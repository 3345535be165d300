package data

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ownFile is a file of testdata/own, which testdata/own.py wrote.
func ownFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "own", name))
	require.NoError(t, err)
	return b
}

// ownX are the features of all files of testdata/own.
var ownX = []float32{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75}

// Every array of labels that NumPy, pandas or scikit-learn give is read as numpy.unique numbers it, or refused with an
// advice that, when it is followed, leads to a file that is read.
func TestLabelsOfEveryKind(t *testing.T) {
	var cases []struct {
		Name, Refused string
		Names         []string
		Labels        []int32
	}
	require.NoError(t, json.Unmarshal(ownFile(t, "own.json"), &cases))
	require.Greater(t, len(cases), 30)
	x := array(t, ownX, 6, 2)
	for _, c := range cases {
		file := c.Name + ".npy"
		if c.Refused != "" {
			dir := folder(t, map[string][]byte{"train_x.npy": x, "train_y.npy": ownFile(t, file)})
			_, err := OpenFolder(dir)
			require.ErrorContains(t, err, c.Refused, c.Name)
			require.ErrorContains(t, err, filepath.Join(dir, "train_y.npy"), c.Name)
			file = c.Name + "-then.npy"
		}
		d, err := OpenFolder(folder(t, map[string][]byte{"train_x.npy": x, "train_y.npy": ownFile(t, file)}))
		require.NoError(t, err, c.Name)
		require.Equal(t, c.Names, d.ClassNames, c.Name)
		require.Equal(t, c.Labels, d.Train.Labels, c.Name)
		require.Equal(t, len(c.Names), d.Classes, c.Name)
		require.Equal(t, ownX, d.Train.Features, c.Name)
		for _, y := range d.Train.Labels {
			require.Equal(t, c.Names[y], d.ClassName(y))
		}
	}
}

// Tables, archives and LIBSVM files as pandas, NumPy and scikit-learn write them, alone and as the only file of a
// folder.
func TestOwnFiles(t *testing.T) {
	iris := []string{"setosa", "versicolor", "virginica"}
	numbers := []string{"0", "1", "2"}
	for _, c := range []struct {
		file, label string
		names       []string
	}{
		{"plain.csv", "", iris}, {"plain.csv", "label", iris}, {"index.csv", "", iris}, {"tabs.tsv", "", iris},
		{"semicolons.csv", "", iris}, {"bom.csv", "", iris}, {"packed.csv.gz", "", iris}, {"packed.csv.bz2", "", iris},
		{"quoted.csv", "", iris},
		{"one-hot.csv", "label_setosa,label_versicolor,label_virginica",
			[]string{"label_setosa", "label_versicolor", "label_virginica"}},
		{"counted.csv", "2", numbers},
		{"named.npz", "", iris}, {"positional.npz", "", numbers}, {"packed.npz", "", numbers},
		{"zero.libsvm", "", numbers}, {"one.libsvm", "", []string{"-1", "0", "1"}},
	} {
		dir := folder(t, map[string][]byte{c.file: ownFile(t, c.file)})
		for _, path := range []string{dir, filepath.Join(dir, c.file)} {
			d, err := OpenWith(path, noEnv, Options{Label: c.label})
			require.NoError(t, err, c.file)
			require.Equal(t, ownX, d.Train.Features, c.file)
			require.Equal(t, []int32{2, 0, 1, 1, 0, 2}, d.Train.Labels, c.file)
			require.Equal(t, c.names, d.ClassNames, c.file)
			require.Equal(t, []int{2}, d.Shape, c.file)
			require.Equal(t, path, d.Name)
			require.Equal(t, c.file == "named.npz", d.Test != nil, c.file)
			require.NoError(t, d.Train.Check(3))
		}
	}
}

// A table without a header is refused; with the line that the error gives before it, it is read.
func TestTableWithoutHeader(t *testing.T) {
	text := ownFile(t, "no-header.csv")
	_, err := OpenFolder(folder(t, map[string][]byte{"train.csv": text}))
	require.ErrorContains(t, err, "put a line before it such as c0,c1,label")
	require.ErrorContains(t, err,
		`pandas.read_csv("train.csv", header=None).to_csv("train.csv", index=False) and give the number of the `+
			`label column, such as --label 2`) // what that gives is counted.csv, which TestOwnFiles reads
	d, err := OpenFolder(folder(t, map[string][]byte{"train.csv": append([]byte("c0,c1,label\n"), text...)}))
	require.NoError(t, err)
	require.Equal(t, []int32{2, 0, 1, 1, 0, 2}, d.Train.Labels)
}

// The mark that spreadsheets put before a file is no part of the first column's name.
func TestByteOrderMark(t *testing.T) {
	text := "\xef\xbb\xbflabel,a\nx,1\ny,2\n"
	d, err := OpenFolder(folder(t, map[string][]byte{"train.csv": []byte(text)}))
	require.NoError(t, err)
	require.Equal(t, []float32{1, 2}, d.Train.Features)
}

func TestTablesOfParts(t *testing.T) {
	plain, other := ownFile(t, "plain.csv"), ownFile(t, "other-order.csv")
	d, err := OpenFolder(folder(t, map[string][]byte{"train.csv": plain, "validation.csv": other,
		"test.csv": []byte("a,b\n1,2\n"), "notes.csv": nil}))
	require.NoError(t, err)
	require.Equal(t, d.Train, d.Val, "columns go by their names")
	require.Nil(t, d.Test)
	require.Contains(t, strings.Join(d.Notes, "\n"), "test.csv has no label column; it is left aside")

	for _, c := range []struct{ val, want string }{
		{"a,label\n1,setosa\n", `the column "b" of the training part is missing`},
		{"a,b,c,d,label\n1,2,3,4,setosa\n", "2 columns that the training part has not"},
		{"a,b,label\n1,2,setosa\n1,2\n", "val.csv: line 3 has more or fewer columns than the first line"},
	} {
		_, err := OpenFolder(folder(t, map[string][]byte{"train.csv": plain, "val.csv": []byte(c.val)}))
		require.ErrorContains(t, err, c.want)
	}
	_, err = OpenFolder(folder(t, map[string][]byte{"a.csv": plain, "b.csv": plain}))
	require.ErrorContains(t, err, "may both hold the training rows; move one of them elsewhere, or give one file as "+
		"--data")
}

func TestTableRefuses(t *testing.T) {
	for _, c := range []struct{ text, label, want string }{
		{"", "", "the file is empty"},
		{"a,b\n1,2\n", "", `which column is the label? Say it by --label NAME; the columns are "a", "b"`},
		{"a,label,target\n1,2,3\n", "", `several columns may be the label ("label", "target")`},
		{"a,label\n1,2\n", "lable", `there is no column "lable"; did you mean "label"?`},
		{"label\n1\n", "", "it has no columns but the label"},
		{"a,a,label\n1,2,3\n", "", `two columns are called "a"`},
		{"a,label\n", "", "there are no features in it"},
		{"a,label\nred,1\n", "",
			`line 2, column "a": "red" is no number; make columns of 0 and 1 of it, in pandas by get_dummies`},
		{"a,label\n1,x\n,y\n3,x\nNaN,y\n", "",
			`values are missing in row 1 (line 3, column "a"), row 3 (line 5, column "a")`},
		{"a,label\n1,x\n2,\n", "", `values are missing in row 1 (line 3, column "label")`},
		{"a,label\n1,x\n1e39,y\n", "",
			`line 3, column "a": "1e39" is beyond float32, whose largest number is 3.4e38: divide`},
		{"a,label\n1,x\n-inf,y\n", "", "row 1, column 0 (counted from 0) is -Inf"},
		{"a,label\n5 %,x\n", "", `"5 %" is a percentage: make numbers of the column, in pandas by frame["a"] = `},
		{"a,label\n−1.5,x\n", "", "has a minus sign that is not the one of programs"},
		{"a,label\n1_000,x\n", "", "has signs between its thousands"},
		{"a,label\n$5,x\n", "", "is an amount of money"},
		{"a,label\n2020-01-31 10:00,x\n", "", `(pandas.to_datetime(frame["a"]) - pandas.Timestamp(0))`},
		{"a,label\n1-2,x\n", "", "by get_dummies"},
		{"a,label\r1,0\r2,1\r", "", "its lines end as on old Macs, by CR alone"},
		{"a,label,,\n1,0,,\n2,1,,3\n", "", "line 3: the column 4 has no name"},
		{"sep=;\na;label\nx;1\n", "", `line 3, column "a": "x" is no number`},
		{"a,label\n1,0.5\n2,1.5\n", "", "labels are classes: whole numbers or words (write c1.5 if it is a class)"},
		{"a,label\n1,\"x\n", "", "a quotation mark is out of place or not closed"},
		{"a;label\n5,1;x\n", "", `"5,1" has a decimal comma: write the table again by pandas.read_csv(`},
		{"a;label\n5,125;x\n", "", `"5,125" has a decimal comma`},
		{"a,label\n\"1,250\",x\n", "",
			`"1,250" has commas between its thousands: write the table again by pandas.read_csv(…, sep=",", thou`},
		{"a\tlabel\n1,250,000\tx\n", "", `pandas.read_csv(…, sep="\t", thousands=","`},
		{"a,label\n\"1,5\",x\n", "", `pandas.read_csv(…, sep=",", decimal=",").to_csv`},
		{"a,label\n1,gr\xfcn\n", "", `line 2, column "label": the file is not UTF-8; if it is Windows-1252`},
		{"gr\xfcn,label\n1,2\n", "", `line 1: the file is not UTF-8`},
		{"a b label\n1 2 3\n", "", `"a b label", is one column; separate the columns by commas, semicolons or tabs`},
		{"\xff\xfea\x00,\x00", "", "UTF-16; save it as UTF-8"},
		{"a,b,c\n1,1,5\n", "a,b", `ones in 2 of its 2 columns`},
	} {
		path := filepath.Join(folder(t, map[string][]byte{"mine.csv": []byte(c.text)}), "mine.csv")
		_, err := OpenWith(path, noEnv, Options{Label: c.label})
		require.ErrorContains(t, err, c.want, c.text)
		require.ErrorContains(t, err, "mine.csv", c.text)
	}
}

// Names of classes that would break a line are quoted.
func TestLabelsOfSeveralLines(t *testing.T) {
	path := filepath.Join(folder(t, map[string][]byte{"mine.csv": []byte("a,label\n1,\"x\ny\"\n2,z\n")}), "mine.csv")
	d, err := OpenWith(path, noEnv, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"x\ny", "z"}, d.ClassNames)
	require.Equal(t, []string{`2 classes occur: "x\ny" is 0, z is 1`}, d.Notes)
}

// Spreadsheets end lines with separators, and Excel says on a line of its own what separates the columns.
func TestTablesOfSpreadsheets(t *testing.T) {
	for _, text := range []string{"a,label,,\n1,x,,\n2,y, ,\n", "sep=;\r\na;label\r\n1;x\r\n2;y\r\n"} {
		d, err := OpenFolder(folder(t, map[string][]byte{"train.csv": []byte(text)}))
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, d.Columns)
		require.Equal(t, []float32{1, 2}, d.Train.Features)
		require.Equal(t, []string{"x", "y"}, d.ClassNames)
	}
}

// Rows that are wanted for their features need no column of labels, and have none where all columns are wanted.
func TestTablesWithoutLabels(t *testing.T) {
	read := func(text string, width int) (*Dataset, error) {
		return OpenFolderWith(folder(t, map[string][]byte{"train.csv": []byte(text)}),
			Options{Unlabelled: true, Width: width})
	}
	for text, width := range map[string]int{"a,y\n1,2\n": 2, "a,b\n1,2\n": 2, ",a,y\n7,1,2\n": 2, "a,b,y\n1,2,x\n": 2,
		",a,b\n7,1,2\n": 0} {
		d, err := read(text, width)
		require.NoError(t, err, text)
		require.Equal(t, []float32{1, 2}, d.Train.Features, text)
	}
	_, err := read("1,2\n3,4\n", 2)
	require.ErrorContains(t, err, "put a line before it such as c0,c1")
	require.NotContains(t, err.Error(), "label")
}

func TestTextColumnsAdviceWorks(t *testing.T) {
	// What pandas.get_dummies makes of the columns a and colour.
	d, err := OpenFolder(folder(t,
		map[string][]byte{"train.csv": []byte("a,colour_blue,colour_red,label\n1,True,False,x\n2,False,True,y\n")}))
	require.NoError(t, err)
	require.Equal(t, []float32{1, 1, 0, 2, 0, 1}, d.Train.Features)
}

func TestRowsThatDecideAScale(t *testing.T) {
	const n = 50
	x := make([]float32, 3*n)
	for i := range n {
		x[3*i], x[3*i+1] = float32(i%7), float32(i%5)
	}
	x[3*17+1] = -9999 // a code for a missing value
	x[3*20+2] = 1     // the others are all 0: nothing is lost
	labels := make([]int32, n)
	labels[3] = 1
	d, err := OpenFolder(folder(t, map[string][]byte{"x.npy": array(t, x, n, 3), "y.npy": array(t, labels, n)}))
	require.NoError(t, err)
	require.Len(t, d.Notes, 1)
	require.Contains(t, d.Notes[0], "row 17 in column 1 (its value is -9999), counted from 0;")

	for _, value := range []float32{-200, 1e6, -3e30} {
		x[3*17+1] = value
		d, err = OpenFolder(folder(t, map[string][]byte{"x.npy": array(t, x, n, 3), "y.npy": array(t, labels, n)}))
		require.NoError(t, err)
		require.Len(t, d.Notes, 1, "%v", value)
	}
	x[3*17+1] = 12 // not far out
	d, err = OpenFolder(folder(t, map[string][]byte{"x.npy": array(t, x, n, 3), "y.npy": array(t, labels, n)}))
	require.NoError(t, err)
	require.Empty(t, d.Notes)

	x[3*17+1], x[3*4], x[3*9] = 1, float32(math.NaN()), float32(math.Inf(1))
	_, err = OpenFolder(folder(t, map[string][]byte{"x.npy": array(t, x, n, 3), "y.npy": array(t, labels, n)}))
	require.ErrorContains(t, err, "row 4, column 0 (counted from 0) is NaN; every feature must be a finite float32, "+
		"which rows 9 are not either")
}

func TestLabelsThatAreNoClasses(t *testing.T) {
	const n = 30
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(i * i)
	}
	d, err := OpenFolder(folder(t, map[string][]byte{"x.npy": array(t, make([]float32, n), n, 1),
		"y.npy": array(t, labels, n)}))
	require.NoError(t, err)
	require.Contains(t, strings.Join(d.Notes, "\n"), "there are 30 classes in 30 training rows")
}
