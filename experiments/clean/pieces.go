package clean

import (
	"maps"
	"time"

	"bilevel/experiments"
	"bilevel/solvers/engine"
)

// stageOfPieces is the name of the only stage that checkpoints of the guided forms have.
const stageOfPieces = "pieces"

// pieces are what the finished parts of a cell have left, by name: parameters of trained models, and those after the
// last finished round of a run. A cell that goes on takes them from its checkpoint in place of computing them, and
// since every part depends on the configuration, the seed and earlier parts alone, it ends with the same bits.
type pieces struct {
	keeper *experiments.Keeper
	log    *experiments.Log
	every  time.Duration
	saved  time.Time
	done   map[string][]float64
}

func newPieces(keeper *experiments.Keeper) *pieces {
	p := &pieces{keeper: keeper, saved: time.Now(), done: map[string][]float64{}}
	_, p.log = keeper.Restore("piece")
	resume, _, every := keeper.Stage(stageOfPieces, p.log)
	if p.every = every; every == 0 {
		p.every = time.Minute
	}
	if resume != nil {
		p.done = maps.Clone(resume.Arrays)
	}
	return p
}

// of is a piece, made where it is not there yet. Nobody changes what it returns.
func (p *pieces) of(name string, compute func() ([]float64, error)) ([]float64, error) {
	if have, ok := p.done[name]; ok {
		return have, nil
	}
	made, err := compute()
	if err != nil {
		return nil, err
	}
	return made, p.put(map[string][]float64{name: made})
}

// put keeps pieces that belong together, and writes a checkpoint where it is time for one.
func (p *pieces) put(made map[string][]float64) error {
	maps.Copy(p.done, made)
	if p.keeper == nil || time.Since(p.saved) < p.every {
		return nil
	}
	return p.save()
}

// save writes the checkpoint.
func (p *pieces) save() error {
	p.saved = time.Now()
	return p.keeper.Save(stageOfPieces, &engine.Snapshot{Algorithm: stageOfPieces, Arrays: p.done}, p.log)
}
