package experiments

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"os"

	"bilevel/data"
)

// Fingerprint is the first 16 hexadecimal digits of the SHA-256 of a set's shapes, features and labels, and of the
// contents of files: a cell is of these rows and files, wherever they lie. Without a set, because the experiment brings
// its own numbers, and without files it is empty.
func Fingerprint(d *data.Dataset, files ...string) (string, error) {
	if d == nil && len(files) == 0 {
		return "", nil
	}
	h := sha256.New()
	if d != nil {
		for i, s := range []*data.Set{d.Train, d.Val, d.Test} {
			if s != nil {
				fmt.Fprintf(h, "%d %d %d\n", i, s.N(), s.Dim)
				writeRows(h, s)
			}
		}
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, "file")
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// writeRows writes what the features were taken less of, and the features and the label of each row.
func writeRows(w io.Writer, s *data.Set) {
	var b []byte
	for _, v := range s.Origin {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	for row := range s.N() {
		if s.Bytes != nil {
			b = append(b, s.Bytes[row*s.Dim:(row+1)*s.Dim]...)
		} else {
			for _, v := range s.Row(row) {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(s.Labels[row]))
		w.Write(b)
		b = b[:0]
	}
}
