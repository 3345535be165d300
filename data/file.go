package data

import (
	"fmt"
	"path/filepath"
	"strings"
)

// advice says how a file that is not read becomes one that is, by its ending.
var advice = map[string]string{
	".parquet": `pandas.read_parquet(%q).to_csv("data.csv", index=False) makes a table of it`,
	".feather": `pandas.read_feather(%q).to_csv("data.csv", index=False) makes a table of it`,
	".xlsx":    `pandas.read_excel(%q).to_csv("data.csv", index=False) makes a table of it`,
	".xls":     `pandas.read_excel(%q).to_csv("data.csv", index=False) makes a table of it`,
	".json":    `pandas.read_json(%q).to_csv("data.csv", index=False) makes a table of it`,
	".jsonl":   `pandas.read_json(%q, lines=True).to_csv("data.csv", index=False) makes a table of it`,
	".pkl":     `load %s in Python, for pickles run code, and save its arrays by numpy.savez("data.npz", x=x, y=y)`,
	".pickle":  `load %s in Python, for pickles run code, and save its arrays by numpy.savez("data.npz", x=x, y=y)`,
	".pt":      `load %s by torch.load and save its arrays by numpy.savez("data.npz", x=x.numpy(), y=y.numpy())`,
	".mat":     `load %s by scipy.io.loadmat and save its arrays by numpy.savez("data.npz", x=x, y=y)`,
	".h5":      `load %s by h5py and save its arrays by numpy.savez("data.npz", x=x, y=y)`,
	".hdf5":    `load %s by h5py and save its arrays by numpy.savez("data.npz", x=x, y=y)`,
	".arff": `load %s by scipy.io.arff.loadarff and save it by pandas.DataFrame(a[0]).to_csv("data.csv", ` +
		`index=False)`,
	".zip": `unpack %s and give the folder`,
	".tar": `unpack %s and give the folder`,
	".tgz": `unpack %s and give the folder`,
	".npy": `%s is one array: put features and labels into a folder as train_x.npy and train_y.npy, and give it`,
}

func adviceFor(name string) string {
	if form := advice[strings.ToLower(filepath.Ext(withoutPacking(name)))]; form != "" {
		return fmt.Sprintf(form, filepath.Base(name))
	}
	return ""
}

// openFile reads a file that holds a whole training part.
func openFile(path string, o Options) (*Dataset, error) {
	dir, name := filepath.Split(path)
	ending := strings.ToLower(filepath.Ext(withoutPacking(name)))
	if o.Label != "" && ending == ".npz" {
		return nil, usagef("--label names a column of a table, but %s holds arrays; call the labels y", path)
	}
	named := func(d *Dataset, err error) (*Dataset, error) {
		if d != nil {
			d.Name, d.Source = path, path
		}
		return d, err
	}
	head, err := headOf(path)
	switch advised := adviceFor(name); {
	case ending == ".npz":
		return named(readNPZ(dir, []string{name}, o))
	case ending == ".npy" && o.Unlabelled:
		r, err := arrayPair(npySources(dir, []string{name})[0], arraySource{}, o)
		return named(together(path, [parts]*rows{trainPart: r}, err))
	case isTable(name):
		return named(tableParts(path, [parts]string{trainPart: path}, o))
	case ending == ".bin":
		return named(readCIFARFile(path))
	case advised != "":
		return nil, fmt.Errorf("%s is not read as it is: %s", path, advised)
	case err != nil:
		return nil, err
	case isIDX(name) || strings.HasPrefix(head, "\x00\x00"):
		return nil, fmt.Errorf("%s is one array; give the folder that holds its labels too "+
			"(train-images-idx3-ubyte and train-labels-idx1-ubyte)", path)
	case looksLikeLIBSVM(head):
		if o.Label != "" {
			return nil, usagef("--label names a column of a table, but %s is a LIBSVM file, where labels come first",
				path)
		}
		return named(libsvmParts(path, [parts]string{trainPart: path}, o))
	}
	if line, _, _ := strings.Cut(head, "\n"); strings.ContainsAny(line, ",;\t") && !strings.ContainsRune(line, 0) {
		return named(tableParts(path, [parts]string{trainPart: path}, o))
	}
	return nil, fmt.Errorf("%s is no file that is read here; it should be a table with a header (.csv, .tsv), an "+
		"archive of arrays "+
		"(.npz), CIFAR's records (.bin) or a LIBSVM file", path)
}
