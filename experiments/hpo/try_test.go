package hpo

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/solvers/problem"

	"github.com/stretchr/testify/require"
)

func TestTry(t *testing.T) {
	name := os.Getenv("TRY")
	if name == "" {
		t.Skip()
	}
	set, err := data.Open(name, os.Getenv)
	require.NoError(t, err)
	c := Defaults(set)
	num := func(n string, to *int) {
		if v := os.Getenv(n); v != "" {
			*to, _ = strconv.Atoi(v)
		}
	}
	num("TRAIN", &c.Train)
	num("VAL", &c.Val)
	num("FOLDS", &c.Folds)
	num("BATCH", &c.Batch)
	calls := 1000
	num("CALLS", &calls)
	c.Calls = int64(calls)
	if s := os.Getenv("SET"); s != "" {
		c.Set = strings.Split(s, ",")
	}
	if s := os.Getenv("MODEL"); s != "" {
		c.Search, c.Model = Layers, s
	}
	for _, m := range strings.Split(os.Getenv("METHODS"), ",") {
		own, err := problem.OpenDevice("cpu")
		require.NoError(t, err)
		c.Method = m
		cc := c
		if searches[m] != nil {
			cc.Batch, cc.Set = 0, nil
		}
		cells, err := Experiment{}.Cells(cc, []uint64{1})
		require.NoError(t, err)
		r, err := Experiment{}.Run(context.Background(), &experiments.Env{Executor: own.Executor, Data: set}, cells[0])
		require.NoError(t, err)
		t.Log(m, r.Scalars)
		for _, row := range r.Curve.Rows {
			if int(row[0])%5 == 0 {
				t.Log(row[1:])
			}
		}
		if os.Getenv("SHOW") != "" {
			for _, row := range r.Tables[0].Rows {
				t.Log(row)
			}
		}
		require.NoError(t, own.Close())
	}
}
