package attack_test

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func TestProf(t *testing.T) {
	s := mnistTest(t, 500)
	n, _ := strconv.Atoi(os.Getenv("T"))
	ex := tensor.NewExecutor(cpudevice.New(n))
	m := mnistModel(t, ex)
	a, err := attack.New(ex, m, attack.Options{Seed: 0})
	require.NoError(t, err)
	c := cpuSeconds()
	r, err := a.Run(context.Background(), attack.Ball{Norm: attack.Linf, Eps: 0.1}, s, attack.Standard()...)
	require.NoError(t, err)
	t.Logf("%+v cpu %.2f", r.Attacks, cpuSeconds()-c)
	t.Log(r.Warnings)
}
