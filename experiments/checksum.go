package experiments

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"bilevel/internal/safetensors"
)

// What a run keeps for itself has a checksum: a byte that a disk has changed would else become a result.

// checksumName is the checksum in a checkpoint's metadata.
const checksumName = "sha256"

// errChecksum is the error of a file that cannot be trusted.
var errChecksum = errors.New("its checksum is missing or wrong: it is damaged, or an earlier version wrote it")

// checksumOf is the SHA-256 of a file of arrays without its checksum.
func checksumOf(f safetensors.File) (string, error) {
	metadata := map[string]string{}
	for name, text := range f.Metadata {
		if name != checksumName {
			metadata[name] = text
		}
	}
	f.Metadata = metadata
	h := sha256.New()
	err := safetensors.Write(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// checksumLine is the SHA-256 of content in hexadecimal digits.
func checksumLine(content []byte) []byte {
	sum := sha256.Sum256(content)
	return hex.AppendEncode(nil, sum[:])
}

// sealed is content behind a line with its checksum.
func sealed(content []byte) []byte {
	return append(append(checksumLine(content), '\n'), content...)
}

// unsealed is the content of what sealed gave.
func unsealed(text []byte) ([]byte, error) {
	line, content, found := bytes.Cut(text, []byte{'\n'})
	if !found || !bytes.Equal(line, checksumLine(content)) {
		return nil, errChecksum
	}
	return content, nil
}
