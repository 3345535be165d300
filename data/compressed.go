package data

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// decompressed returns r's content, unpacked where it begins as gzip or bzip2 files do, whatever its name. packed tells
// whether it was.
func decompressed(r io.Reader) (content *bufio.Reader, packed bool, err error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, _ := b.Peek(3)
	switch {
	case len(head) >= 2 && string(head[:2]) == "\x1f\x8b":
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, true, fmt.Errorf("compressed data: %w", err)
		}
		return bufio.NewReaderSize(z, 1<<16), true, nil
	case string(head) == "BZh":
		return bufio.NewReaderSize(bzip2.NewReader(b), 1<<16), true, nil
	}
	return b, false, nil
}

// readFile opens the file path, unpacks it and gives its content to read, whose errors it joins with the path.
func readFile(path string, read func(*bufio.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	content, _, err := decompressed(f)
	if err == nil {
		err = read(content)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// withoutPacking cuts the ending of a compressed file off its name.
func withoutPacking(name string) string {
	for _, ending := range []string{".gz", ".bz2"} {
		if short, ok := strings.CutSuffix(strings.ToLower(name), ending); ok {
			return name[:len(short)]
		}
	}
	return name
}
