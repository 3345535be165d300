package experiments

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"bilevel/solvers/engine"
)

// Several cells of a table may begin with the same computation: a network is trained once and pruned in many ways. What
// such a computation has come to is kept in DIR/shared/KEY.safetensors, where KEY stands for all that it depends on, so
// that a cell which would repeat it reads the file. The bits are those of the computation: a file by another version of
// the program, or on another device, is not read. Two processes that come to the same point at the same time both
// compute, and write the same numbers.

// origin is all that a shared computation depends on.
type origin struct {
	Experiment string `json:"experiment"`
	Seed       uint64 `json:"seed"`
	Data       string `json:"data"`
	Of         any    `json:"of"`
}

// shared is the file of what a computation has come to, and what is written about it there.
func (k *Keeper) shared(of any) (path string, head *Checkpoint, err error) {
	text, err := json.Marshal(origin{k.cell.Experiment, k.cell.Seed, k.cell.Data, of})
	sum := sha256.Sum256(text)
	key := hex.EncodeToString(sum[:8])
	return filepath.Join(k.store.sharedFolder(), key+".safetensors"),
		&Checkpoint{Cell: text, Key: key, Version: k.store.Version, Device: k.store.Device}, err
}

func (s *Store) sharedFolder() string { return filepath.Join(s.Dir, "shared") }

// Shared is what a cell of this store has left by Share, nil where there is nothing. of is all that it depends on
// beside the experiment, the seed and the data, as JSON knows it.
func (k *Keeper) Shared(of any) (*engine.Snapshot, error) {
	if k == nil || k.store == nil || !k.store.Share {
		return nil, nil
	}
	path, want, err := k.shared(of)
	if err != nil {
		return nil, err
	}
	c, err := ReadCheckpoint(path)
	switch {
	case isMissing(err):
		return nil, nil
	case err != nil:
		k.store.warn("%v; it is computed again", err)
		return nil, nil
	case c.Key != want.Key || c.Version != want.Version || c.Device != want.Device:
		return nil, nil
	}
	return c.Snapshot, nil
}

// Share keeps what a computation has come to for other cells, where the store shares. The arrays are not copied.
func (k *Keeper) Share(of any, s *engine.Snapshot) error {
	if k == nil || k.store == nil || !k.store.Share {
		return nil
	}
	path, c, err := k.shared(of)
	if err != nil {
		return err
	}
	if _, err := k.store.begin(k.key); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	c.Snapshot = s
	return c.Write(path)
}

// Unshare removes what cells have shared, once none is left that could use it.
func (s *Store) Unshare() error { return os.RemoveAll(s.sharedFolder()) }
