package experiments_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"bilevel/device/ref"
	"bilevel/experiments"
)

// dice is an experiment of one's own: what it reports is a record, which everything that is shown is made of.
type dice struct{}

type diceConfig struct {
	Sides int `json:"sides"`
}

func (dice) Name() string { return "dice" }

func (dice) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	if config.(diceConfig).Sides < 1 {
		return nil, experiments.Usagef("a die has at least one side")
	}
	return experiments.SeedCells("dice", config, seeds), nil
}

func (dice) Run(_ context.Context, _ *experiments.Env, c experiments.Cell) (*experiments.Record, error) {
	r := experiments.NewRecord()
	r.Scalars["share"] = float64(c.Seed%uint64(c.Config.(diceConfig).Sides)) / 10
	return r, nil
}

func (dice) Report() experiments.Report {
	return experiments.Report{Rows: []experiments.Row{{Title: "share", Scalar: "share", Percent: true}}}
}

func ExampleExperiment() {
	cells, err := dice{}.Cells(diceConfig{Sides: 6}, []uint64{1, 2, 3})
	if err != nil {
		log.Fatal(err)
	}
	dev := ref.New()
	defer dev.Close()
	records, err := experiments.Run(context.Background(), dev, experiments.Env{}, dice{}, cells, nil,
		experiments.Hooks{})
	if err != nil {
		log.Fatal(err)
	}
	if err := experiments.WriteTable(os.Stdout, dice{}.Report(), records); err != nil {
		log.Fatal(err)
	}
	// Output: share  20.00 % ± 10.00
}

// A cell's name depends on its content alone.
func ExampleCell() {
	a, _ := experiments.Cell{Experiment: "dice", Config: diceConfig{6}, Seed: 1}.Key()
	b, _ := experiments.Cell{Experiment: "dice", Config: diceConfig{6}, Seed: 1}.Key()
	c, _ := experiments.Cell{Experiment: "dice", Config: diceConfig{8}, Seed: 1}.Key()
	fmt.Println(len(a), a == b, a == c)
	// Output: 16 true false
}

// Finished cells are taken from a store, so that a run goes on where it was stopped.
func ExampleStore() {
	dir, err := os.MkdirTemp("", "results")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dev := ref.New()
	defer dev.Close()
	cells, _ := dice{}.Cells(diceConfig{Sides: 6}, []uint64{4})
	for range 2 {
		store := &experiments.Store{Dir: dir, Resume: true}
		env := experiments.Env{}
		records, err := experiments.Run(context.Background(), dev, env, dice{}, cells, store, experiments.Hooks{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(records[0].Scalars["share"], "computed now:", store.Written())
	}
	// Output:
	// 0.4 computed now: true
	// 0.4 computed now: false
}

// Of several seeds each number becomes a mean, a deviation and the values.
func ExampleSummarize() {
	var runs []*experiments.Record
	for seed, v := range []float64{1, 2, 3} {
		r := experiments.NewRecord()
		r.Seed, r.Scalars["error"] = uint64(seed), v
		runs = append(runs, r)
	}
	summary, err := experiments.Summarize(runs)
	fmt.Println(summary["error"], err)
	// Output: map[mean:2 std:1 values:[1 2 3]] <nil>
}

// A record has numbers, texts and sentences for a user; a dot in a name makes an object of JSON.
func ExampleRecord() {
	r := experiments.NewRecord()
	r.Scalars["controls.all"], r.Counts["rows"] = 0.25, 100
	r.Warn("%d rows are few", 100)
	text, err := r.MarshalJSON()
	fmt.Println(string(text), err)
	// Output: {"controls":{"all":0.25},"device":"","key":"","rows":100,"seed":0,"warnings":["100 rows are few"]} <nil>
}
