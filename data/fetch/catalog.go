// Package fetch gets the data sets that package data knows by name, and checks those that are on the machine.
package fetch

import (
	"slices"

	"bilevel/internal/archive"
	"bilevel/internal/download"
)

// Set is a data set that can be fetched.
type Set struct {
	Name        string
	Title       string
	Terms       string // under which it may be used, and where from
	Train, Test int    // rows
	Bytes       int64  // of the download, about
	files       []file
	releases    []release
	allKnown    bool // releases has all that there are
	images      []images
}

// images is a pattern of the paths of a set's image files, each of which is a row, below the set's folder or inside the
// archive that the pattern begins with.
type images struct {
	names string
	test  bool
}

// file is one download of a set.
type file struct {
	download.File
	name   string         // in the set's folder
	unpack archive.Limits // of a .tar.gz file, which is unpacked there and not kept
}

// release is the content of a set as it was published at one time: the SHA-256 of each unpacked file by its key, see
// contents.
type release struct {
	name, note string
	contents   map[string]string
}

// published tells how the bytes of a download are checked.
func (f file) published() string {
	switch {
	case f.SHA256 != "":
		return "published SHA-256"
	case f.MD5 != "":
		return "published MD5"
	}
	return "none published: compared with this machine's first download"
}

func at(name string, prefixes ...string) (urls []string) {
	for _, prefix := range prefixes {
		urls = append(urls, prefix+name)
	}
	return urls
}

const gzipMagic, bzipMagic, zipMagic = "\x1f\x8b", "BZh", "PK"

// idxFile is one of the four files of MNIST and of sets in its form.
func idxFile(name string, size int64, sha256, md5 string, mirrors ...string) file {
	return file{name: name, File: download.File{URLs: at(name, mirrors...), Size: size, SHA256: sha256, MD5: md5,
		Begins: gzipMagic}}
}

// Sets lists the data sets in the order of data.Names, without the embedded one. Sums are those that the sets'
// publishers or the libraries that load them have published:
//
//	mnist            SHA-256 of the four files
//	fashion-mnist    MD5 of the four files, by its authors; SHA-256, by several libraries
//	cifar10, cifar100  SHA-256 of the archives
//	tiny-imagenet, omniglot  MD5 of the archives, by several libraries
//	ijcnn1, adult    none: the first download is recorded and later ones are compared with it
func Sets() []Set {
	mnist := []string{"https://storage.googleapis.com/cvdf-datasets/mnist/",
		"https://ossci-datasets.s3.amazonaws.com/mnist/"}
	fashion := []string{"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
		"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"}
	const libsvm = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/"
	omniglot := []string{"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
		"https://github.com/brendenlake/omniglot/raw/master/python/"}
	cifar := archive.Limits{Files: 32, Bytes: 400 << 20}
	return []Set{
		{
			Name: "mnist", Title: "handwritten digits, 28×28", Terms: "Y. LeCun, C. Cortes, C. Burges",
			Train: 60_000, Test: 10_000, Bytes: 11_594_722, allKnown: true,
			files: []file{
				idxFile("train-images-idx3-ubyte.gz", 0,
					"440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", "", mnist...),
				idxFile("train-labels-idx1-ubyte.gz", 0,
					"3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", "", mnist...),
				idxFile("t10k-images-idx3-ubyte.gz", 0,
					"8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", "", mnist...),
				idxFile("t10k-labels-idx1-ubyte.gz", 0,
					"f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", "", mnist...),
			},
			releases: []release{{name: "the official files", contents: map[string]string{
				"train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
				"train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
				"t10k-images-idx3-ubyte":  "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
				"t10k-labels-idx1-ubyte":  "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
			}}},
		},
		{
			Name: "fashion-mnist", Title: "articles of clothing, 28×28", Terms: "Zalando; MIT",
			Train: 60_000, Test: 10_000, Bytes: 30_878_645,
			files: []file{
				idxFile("train-images-idx3-ubyte.gz", 26_421_880,
					"3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
					"8d4fb7e6c68d591d4c3dfef9ec88bf0d", fashion...),
				idxFile("train-labels-idx1-ubyte.gz", 29_515,
					"a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
					"25c81989df183df01b3e8a0aad5dffbe", fashion...),
				idxFile("t10k-images-idx3-ubyte.gz", 4_422_102,
					"346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
					"bef4ecab320f06d8554ea6380940ec79", fashion...),
				idxFile("t10k-labels-idx1-ubyte.gz", 5_148,
					"67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
					"bb300cfdad3c16e7a12a480ee83cd310", fashion...),
			},
			releases: []release{{
				name: "the first release (26 August 2017), which the one of 31 August replaced",
				note: "ten of its training images are in the test part too; they are left out when it is read",
				contents: map[string]string{
					"train-images-idx3-ubyte": "f90068848beaee13588c5c0c129c5e016331db6251d78bd38dbdce4a89470f76",
					"train-labels-idx1-ubyte": "c7673bb30764062aa9ddeaf6184d7043075ded6a31aee7d16f38402434ad395d",
					"t10k-images-idx3-ubyte":  "e76e80ccadedb817f9ba1c884c08a396e650ec64e424af6a550b8db54d843a8b",
					"t10k-labels-idx1-ubyte":  "0106d6dfb86a77b9299271c292262daad9001d5a44d251a3880227436b8ce3b1",
				},
			}},
		},
		{
			Name: "cifar10", Title: "photographs of 10 classes, 32×32×3", Terms: "A. Krizhevsky 2009; cite the report",
			Train: 50_000, Test: 10_000, Bytes: 170_052_171,
			files: []file{{name: "cifar-10-binary.tar.gz", unpack: cifar, File: download.File{
				URLs: []string{"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"}, Size: 170_052_171,
				Begins: gzipMagic,
				SHA256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
			}}},
		},
		{
			Name: "cifar100", Title: "photographs of 100 classes, 32×32×3",
			Terms: "A. Krizhevsky 2009; cite the report",
			Train: 50_000, Test: 10_000, Bytes: 170_000_000,
			files: []file{{name: "cifar-100-binary.tar.gz", unpack: cifar, File: download.File{
				URLs: []string{"https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"}, Begins: gzipMagic,
				SHA256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
			}}},
		},
		{
			Name: "ijcnn1", Title: "IJCNN 2001 challenge, 22 features", Terms: "D. Prokhorov, by way of LIBSVM's page",
			Train: 49_990, Test: 91_701, Bytes: 4_000_000,
			files: []file{
				{name: "ijcnn1.bz2", File: download.File{URLs: at("ijcnn1.bz2", libsvm), Begins: bzipMagic}},
				{name: "ijcnn1.t.bz2", File: download.File{URLs: at("ijcnn1.t.bz2", libsvm), Begins: bzipMagic}},
			},
		},
		{
			Name: "adult", Title: "census incomes, 123 binary features (a9a)", Terms: "UCI, by way of LIBSVM's page",
			Train: 32_561, Test: 16_281, Bytes: 3_500_000,
			files: []file{
				{name: "a9a", File: download.File{URLs: at("a9a", libsvm)}},
				{name: "a9a.t", File: download.File{URLs: at("a9a.t", libsvm)}},
			},
		},
		{
			Name: "tiny-imagenet", Title: "photographs of 200 classes, 64×64×3",
			Terms: "ImageNet; non-commercial research",
			Train: 100_000, Test: 10_000, Bytes: 248_100_043,
			images: []images{{names: "tiny-imagenet-200/train/*/images/*.JPEG"},
				{"tiny-imagenet-200/val/images/*.JPEG", true}},
			files: []file{{name: "tiny-imagenet-200.zip", File: download.File{
				URLs: []string{"http://cs231n.stanford.edu/tiny-imagenet-200.zip",
					"https://cs231n.stanford.edu/tiny-imagenet-200.zip"},
				Size: 248_100_043, MD5: "90528d7ca1a48142e341f4ef8d21d0de", Begins: zipMagic,
			}}},
		},
		{
			Name: "omniglot", Title: "handwritten characters of 50 alphabets, 105×105", Terms: "B. Lake; MIT",
			Train: 19_280, Test: 13_180, Bytes: 15_900_000,
			images: []images{{names: "images_background/*/*/*.png"}, {"images_evaluation/*/*/*.png", true}},
			files: []file{
				{name: "images_background.zip", File: download.File{URLs: at("images_background.zip", omniglot...),
					MD5: "68d2efa1b9178cc56df9314c21c6e718", Begins: zipMagic}},
				{name: "images_evaluation.zip", File: download.File{URLs: at("images_evaluation.zip", omniglot...),
					MD5: "6b91aef0f799c5bb55b94e3f2daec811", Begins: zipMagic}},
			},
		},
	}
}

// Find returns the set called name.
func Find(name string) (Set, bool) {
	sets := Sets()
	i := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return Set{}, false
	}
	return sets[i], true
}
